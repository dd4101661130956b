"""A living org: people who edit, sell, convert, merge and delete while you watch."""

import threading
from collections.abc import Callable

from integration.sandbox import names, traffic_deals, traffic_oddities, traffic_people
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

# The org's polite ways of saying "not this record, not now": somebody else has it open, or the schema changed.
_TRY_ANOTHER = frozenset(
    {"UNABLE_TO_LOCK_ROW", "ENTITY_IS_DELETED", "NOT_FOUND", "INVALID_CROSS_REFERENCE_KEY", "INVALID_FIELD"}
)


class Traffic:
    """Does one believable thing after the other to an org.

    org    any org, also an empty one or one loaded from an export
    world  what ``build_world`` made, or None; not needed, it only starts another line of chance
    seed   the same seed, org and clock give the same operations

    An operation that finds nothing to work with gives way to another one. Every operation holds the org's
    lock, so that readers see it as a whole. Safe to run in a thread beside a server.
    """

    operations: tuple[str, ...] = tuple(_OPERATIONS)

    def __init__(self, org: Org, world: World | None = None, *, seed: int = 7) -> None:
        self.org = org
        self._desk = Desk(org, seed if world is None else seed * 1_000_003 + world.seed)

    @property
    def open_transactions(self) -> int:
        """How many slow transactions wait for their commit."""
        return len(self._desk.late)

    def step(self) -> list[str]:
        """Do one thing chosen by chance; return a sentence for it, and one for each slow commit that came due."""
        with self.org.lock:
            said = self._commit_due()
            kinds = list(_OPERATIONS)
            weights = [weight for _, weight in _OPERATIONS.values()]
            while kinds:
                place = self._desk.rng.choices(range(len(kinds)), weights)[0]
                done = self._try(kinds.pop(place))
                weights.pop(place)
                if done is not None:
                    return [*said, done]
            return said

    def do(self, operation: str) -> list[str]:
        """Do one thing of that kind (see ``operations``); an empty list says that the org has nothing for it.

        Slow transactions do not come due here, only in ``step`` and ``finish``. Raises ValueError for an
        unknown kind.
        """
        if operation not in _OPERATIONS:
            known = ", ".join(self.operations)
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

    def finish(self) -> list[str]:
        """Commit every slow transaction that is still open; return a sentence for each."""
        with self.org.lock:
            return self._commit_due(everything=True)

    def run(self, stop: threading.Event, every_seconds: float, say: Callable[[str], None] | None = None) -> None:
        """Do something every so many seconds until ``stop`` is set, then commit what is open.

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
        try:
            return _OPERATIONS[operation][0](self._desk)
        except OrgError as error:
            if error.code in _TRY_ANOTHER:
                return None
            raise

    def _commit_due(self, *, everything: bool = False) -> list[str]:
        due = [entry for entry in self._desk.late if everything or entry[0] <= self._desk.step]
        self._desk.late = [entry for entry in self._desk.late if entry not in due]
        for _, transaction, _ in due:
            transaction.commit()
        return [sentence for _, _, sentence in due]

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
