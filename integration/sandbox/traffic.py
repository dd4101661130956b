"""A living org: people who edit, sell, convert, merge and delete while you watch."""

import threading
from collections.abc import Callable

from integration.sandbox import (
    names,
    traffic_deals,
    traffic_nasty,
    traffic_oddities,
    traffic_people,
    traffic_schema,
)
from integration.sandbox.clock import stamp
from integration.sandbox.errors import OrgError
from integration.sandbox.org import Org
from integration.sandbox.traffic_desk import Desk, Row
from integration.sandbox.world import World

Operation = Callable[[Desk], str | None]

_OPERATIONS: dict[str, tuple[Operation, int]] = {
    "contact_created": (traffic_people.contact_created, 5),
    "contact_title": (traffic_people.contact_title, 10),
    "contact_phone": (traffic_people.contact_phone, 6),
    "contact_email": (traffic_people.contact_email, 4),
    "contact_moved": (traffic_people.contact_moved, 3),
    "contact_owner": (traffic_people.contact_owner, 2),
    "account_mrr": (traffic_people.account_mrr, 8),
    "account_industry": (traffic_people.account_industry, 2),
    "account_type": (traffic_people.account_type, 3),
    "account_owner": (traffic_people.account_owner, 2),
    "lead_created": (traffic_people.lead_created, 8),
    "lead_status": (traffic_people.lead_status, 6),
    "lead_converted": (traffic_people.lead_converted, 4),
    "enrichment_refreshed": (traffic_people.enrichment_refreshed, 3),
    "opportunity_created": (traffic_deals.opportunity_created, 5),
    "opportunity_stage": (traffic_deals.opportunity_stage, 8),
    "opportunity_won": (traffic_deals.opportunity_won, 3),
    "opportunity_lost": (traffic_deals.opportunity_lost, 2),
    "opportunity_amount": (traffic_deals.opportunity_amount, 5),
    "role_added": (traffic_deals.role_added, 4),
    "task_created": (traffic_deals.task_created, 8),
    "task_completed": (traffic_deals.task_completed, 7),
    "campaign_joined": (traffic_deals.campaign_joined, 5),
    "campaign_responded": (traffic_deals.campaign_responded, 5),
    "contact_merged": (traffic_oddities.contact_merged, 2),
    "contact_deleted": (traffic_oddities.contact_deleted, 2),
    "opportunity_deleted": (traffic_oddities.opportunity_deleted, 1),
    "record_restored": (traffic_oddities.record_restored, 2),
    "record_purged": (traffic_oddities.record_purged, 1),
    "record_touched": (traffic_oddities.record_touched, 4),
    "saved_unchanged": (traffic_oddities.saved_unchanged, 3),
    "two_in_one_second": (traffic_oddities.two_in_one_second, 2),
    "late_commit": (traffic_oddities.late_commit, 2),
}

_NASTY: dict[str, tuple[Operation, int]] = {
    "several_edits": (traffic_nasty.several_edits, 8),
    "deleted_for_good": (traffic_nasty.deleted_for_good, 3),
    "very_late_commit": (traffic_nasty.very_late_commit, 4),
    "undeleted_without_stamp": (traffic_nasty.undeleted_without_stamp, 3),
    "drifted": (traffic_nasty.drifted, 4),
    "shared_mailbox": (traffic_nasty.shared_mailbox, 2),
    "email_in_odd_form": (traffic_nasty.email_in_odd_form, 4),
    "account_merged": (traffic_nasty.account_merged, 2),
    "lead_merged": (traffic_nasty.lead_merged, 2),
    "deals_reparented": (traffic_nasty.deals_reparented, 2),
    "delete_log_purged": (traffic_nasty.delete_log_purged, 1),
    "tie": (traffic_nasty.tie, 2),
    "field_added": (traffic_schema.field_added, 2),
    "field_hidden": (traffic_schema.field_hidden, 3),
    "field_shown": (traffic_schema.field_shown, 3),
    "field_removed": (traffic_schema.field_removed, 1),
    "field_retyped": (traffic_schema.field_retyped, 1),
    "label_changed": (traffic_schema.label_changed, 1),
    "picklist_changed": (traffic_schema.picklist_changed, 1),
    "object_hidden": (traffic_schema.object_hidden, 1),
}

# The org's polite ways of saying "not this record, not now": somebody else has it open, or the schema changed.
_TRY_ANOTHER = frozenset(
    {
        "UNABLE_TO_LOCK_ROW",
        "ENTITY_IS_DELETED",
        "NOT_FOUND",
        "INVALID_CROSS_REFERENCE_KEY",
        "INVALID_FIELD",
        "INVALID_PERSON_ACCOUNT_OPERATION",
        "CANNOT_UPDATE_CONVERTED_LEAD",
    }
)


class Traffic:
    """Does one believable thing after the other to an org.

    org    any org, also an empty one or one loaded from an export
    world  what ``build_world`` made, or None; not needed, it only starts another line of chance
    seed   the same seed, org and clock give the same operations
    nasty  mix in what makes change capture hard (``nasty_operations``): hard deletes, edits without a stamp, very
           late commits, a schema that changes. Edits that follow each other within seconds move a VirtualClock.

    An operation that finds nothing to work with gives way to another one. Every operation holds the org's
    lock, so that readers see it as a whole. Safe to run in a thread beside a server.
    """

    operations: tuple[str, ...] = tuple(_OPERATIONS)
    nasty_operations: tuple[str, ...] = tuple(_NASTY)

    def __init__(self, org: Org, world: World | None = None, *, seed: int = 7, nasty: bool = False) -> None:
        self.org = org
        self._mix = _OPERATIONS | _NASTY if nasty else _OPERATIONS
        self._desk = Desk(org, seed if world is None else seed * 1_000_003 + world.seed)

    @property
    def open_transactions(self) -> int:
        """How many slow transactions wait for their commit."""
        return sum(waiting.commits for waiting in self._desk.later)

    def step(self) -> list[str]:
        """Do one thing chosen by chance; return a sentence for it, and one for each thing that came due before."""
        with self.org.lock:
            said = self._do_what_is_due()
            kinds = list(self._mix)
            weights = [weight for _, weight in self._mix.values()]
            while kinds:
                place = self._desk.rng.choices(range(len(kinds)), weights)[0]
                done = self._try(kinds.pop(place))
                weights.pop(place)
                if done is not None:
                    return [*said, done]
            return said

    def do(self, operation: str) -> list[str]:
        """Do one thing of that kind, ordinary or nasty; an empty list says that the org has nothing for it.

        What an operation left for later does not come due here, only in ``step`` and ``finish``. Raises
        ValueError for an unknown kind.
        """
        if operation not in _OPERATIONS and operation not in _NASTY:
            known = ", ".join(self.operations + self.nasty_operations)
            raise ValueError(f"There is no traffic called {operation!r}; choose one of {known}.")
        with self.org.lock:
            done = self._try(operation)
            return [] if done is None else [done]

    def burst(self, n: int = 5000) -> list[str]:
        """Load ``n`` leads that all carry the stamp of this one second, as a bulk import does."""
        with self.org.lock:
            now = stamp(self.org.clock.now())
            user = self._desk.user() or self.org.default_user
            companies = names.companies(self._desk.rng, 50)
            for number in range(n):
                self.org.load("Lead", self._imported(number, companies[number % 50], now, user))
        return [f"{n:,} leads of a purchased list were loaded in one second"]

    def finish(self, *, show: bool = True) -> list[str]:
        """Do what was left for later, commits of open transactions first of all; return a sentence for each.

        show  also give the API user back every field and object that this traffic has hidden
        """
        with self.org.lock:
            said = self._do_what_is_due(everything=True)
            if show:
                said += traffic_schema.show_everything(self._desk)
            return said

    def run(self, stop: threading.Event, every_seconds: float, say: Callable[[str], None] | None = None) -> None:
        """Do something every so many seconds until ``stop`` is set, then finish.

        ``say`` is given every sentence.
        """
        while not stop.wait(every_seconds):
            for sentence in self.step():
                if say is not None:
                    say(sentence)
        for sentence in self.finish():
            if say is not None:
                say(sentence)

    def _try(self, operation: str) -> str | None:
        self._desk.step += 1
        act, _ = (_OPERATIONS | _NASTY)[operation]
        return _politely(lambda: act(self._desk))

    def _do_what_is_due(self, *, everything: bool = False) -> list[str]:
        desk, now = self._desk, self.org.clock.now()
        due = [waiting for waiting in desk.later if everything or waiting.due(desk.step, now)]
        desk.later = [waiting for waiting in desk.later if waiting not in due]
        due.sort(key=lambda waiting: not waiting.commits)  # what else is due may need what they have locked
        return [said for waiting in due if (said := _politely(waiting.act)) is not None]

    def _imported(self, number: int, company: names.Company, now: str, user: str) -> Row:
        someone = names.person(self._desk.rng)
        return {
            "Id": self.org.new_id("00Q"),
            "FirstName": someone.first,
            "LastName": someone.last,
            "Name": someone.name,
            "Title": someone.title,
            "Company": company.name,
            "Email": self._desk.email(someone.first, someone.last, company.domain),
            "LeadSource": "Purchased List",
            "Status": "New",
            "Score__c": float(number % 100),
            "OwnerId": user,
            "CreatedDate": now,
            "CreatedById": user,
            "LastModifiedDate": now,
            "LastModifiedById": user,
            "SystemModstamp": now,
        }


def _politely(act: Callable[[], str | None]) -> str | None:
    """Do something, or nothing if the org won't have it just now."""
    try:
        return act()
    except OrgError as error:
        if error.code in _TRY_ANOTHER:
            return None
        raise
