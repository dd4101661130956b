"""The people a batch reaches: stitched, projected, and written where their row differs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from consumers import product
from consumers.catalogs import Catalogs
from consumers.reach import Known, Reach, close_over, known_people, members_of, users_of
from integration.core import identity, project
from integration.core.identity import Person, Record
from integration.core.image import Image
from integration.core.project import Deal, Deals, Role
from integration.core.traits import Shown
from integration.store import projection, tables
from integration.store.protocol import Reading, Transaction

_OF_NOBODY = "SELECT event_id, alias FROM events WHERE user_id IS NULL AND alias = any(?)"
_OF_USERS = "SELECT event_id, alias FROM events WHERE user_id = any(?) AND alias = any(?)"
_ROWS = "SELECT * FROM headrace.people WHERE user_id = any(?)"
_PRODUCTS = "SELECT product_id FROM headrace.sightings WHERE product_id > ?"


class IdentityRules(Protocol):
    """The two settings identity looks at."""

    @property
    def match_email(self) -> bool:
        """Whether one e-mail makes one person."""

    @property
    def max_cluster(self) -> int:
        """How many live records may share an e-mail before it counts as a shared mailbox."""


@dataclass(slots=True)
class Projected:
    """How many rows were written, and whose alias belongs to whom now."""

    users: int = 0
    user_of: dict[str, str] = field(default_factory=dict)
    handed_over: set[str] = field(default_factory=set)
    """Users who have got or lost events of earlier batches, by an alias that has changed hands."""


def write_people(
    tx: Transaction, reached: Reach, catalogs: Catalogs, rules: IdentityRules, *, only_differing: bool = False
) -> Projected:
    """Stitch whom the batch has reached, choose what they show, and write the rows of `users` that differ.

    `only_differing` holds for headrace.people too: for whom most rows are expected to be as they are. Then nothing that
    is stored of who is who is trusted either.
    """
    done = Projected()
    dated = projection.dated(catalogs.shape)
    moved, later = _moved(tx, reached, dated)
    reached.copy.update(moved.values())
    known = Known([], set(members_of(tx, reached.deals)), set()) if only_differing else known_people(tx, reached.deals)
    records, named = close_over(tx, reached.stitch | known.others, reached.emails)
    stitched = identity.stitch(records, match_email=rules.match_email, max_cluster=rules.max_cluster)
    shared = identity.shared_mailboxes(records.values(), rules.max_cluster)
    user_of = _write_identities(tx, stitched, shared, records, reached.emails, done.handed_over)
    people = stitched + [one for one in known.people if one.user_id not in records]
    done.user_of = moved | {r.record_id: one.user_id for one in people for r in one.members} | user_of
    deals = _deals(tx, [r for one in people for r in one.members])
    shown = catalogs.traits.shown(people, product.traits(tx, named | known.named))
    rows = [project.person_row(person, deals, shown.get(person.user_id, Shown()).at, dated) for person in people]
    gone = records.keys() - {row["user_id"] for row in rows}
    written = {*gone, *(row["user_id"] for row in rows)}
    later = [row for row in later if row["user_id"] not in written]
    if only_differing:
        tx.upsert("headrace.people", ("user_id",), tables.PEOPLE, later)
        tx.make_equal("headrace.people", "user_id", written, tables.PEOPLE, rows)
    else:
        tx.delete("headrace.people", "user_id", gone)
        tx.upsert("headrace.people", ("user_id",), tables.PEOPLE, [*later, *rows])
    if named or only_differing:  # who has traits, or has lost them, is tied to a product id
        catalogs.traits.write(tx, written, shown, only_differing=only_differing)
    done.users = tx.project_users(catalogs.shape, written | reached.copy, only_differing=only_differing)
    return done


def _moved(tx: Transaction, reached: Reach, dated: Collection[str]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return whose each of the records is that have only moved on, and the rows of these people with a later time.

    Most rows stay as they are: the time of the contact and the lead that they show is not in them.
    """
    moved = reached.moved.keys() - reached.stitch
    if not moved:
        return {}, []
    user_of = users_of(tx, moved)
    hidden = {i: user for i, user in user_of.items() if not (i == user and _is_shown(reached.moved[i], dated))}
    found = tx.rows(_ROWS, [sorted(set(hidden.values()))]) if hidden else []
    rows = {row["user_id"]: row for row in found}
    later: dict[str, dict[str, Any]] = {}
    for record_id, user_id in hidden.items():
        one, row = reached.moved[record_id], later.get(user_id) or rows.get(user_id)
        if row is None or (one.object in dated and record_id in (row["contact_id"], row["lead_id"])):
            continue
        if row["updated_at"] < one.version:
            later[user_id] = {**row, "updated_at": one.version}
    return user_of, [*later.values()]


def _is_shown(one: Image, dated: Collection[str]) -> bool:
    """Tell of a record that gives its person the id whether it is what the person's row is copied from, too."""
    return one.object in dated and not one.is_deleted and not one.fields.get("IsConverted")


def people_ids(store: Reading, object_name: str, after: str, limit: int) -> list[str]:
    """List the next contacts, leads or product identities (`Product`) behind an id, as their ids."""
    if object_name != identity.PRODUCT:
        return [record_id for record_id, _ in store.known_ids(object_name, after=after, limit=limit)]
    rows = store.rows(f"{_PRODUCTS} ORDER BY product_id LIMIT {limit:d}", [after])
    return [row["product_id"] for row in rows]


def name_users(tx: Transaction, rows: Iterable[dict[str, Any]], user_of: Mapping[str, str]) -> None:
    """Name the present user of each row's alias; `user_of` knows those that the batch has reached."""
    told = list(rows)
    unknown = {r["alias"] for r in told if r["alias"] and r["alias"] not in user_of}
    users = {**users_of(tx, unknown), **user_of}
    for row in told:
        row["user_id"] = users.get(row["alias"])


def _deals(tx: Transaction, records: Iterable[Record]) -> Deals:
    """Read the opportunities these people may be connected with, through roles and accounts."""
    contacts = [r.record_id for r in records if r.is_contact]
    accounts = {r.account_id for r in records if r.account_id}
    roles = [
        project.role_of(facts)
        for facts in tx.facts("OpportunityContactRole", {"ContactId": contacts}, project.ROLE_FACTS)
    ]
    wanted = {"Id": [r.opportunity_id for r in roles if r.opportunity_id], "AccountId": accounts}
    deals = [project.deal_of(facts) for facts in tx.facts("Opportunity", wanted, project.DEAL_FACTS)]
    by_account: dict[str, list[Deal]] = {}
    for deal in deals:
        by_account.setdefault(deal.account_id or "", []).append(deal)
    by_contact: dict[str, list[Role]] = {}
    for role in roles:
        by_contact.setdefault(role.contact_id or "", []).append(role)
    return Deals({d.record_id: d for d in deals}, by_account, by_contact)


def _write_identities(
    tx: Transaction,
    people: Sequence[Person],
    shared: set[str],
    records: Mapping[str, Record],
    old_emails: set[str],
    handed_over: set[str],
) -> dict[str, str]:
    """Replace the aliases of these records, e-mails given up included; point earlier events at their people of now."""
    rows = identity.identities(people, shared)
    aliases = sorted({*records, *old_emails, *(r.email for r in records.values() if r.email)})
    if not aliases:
        return {}
    stored = tx.rows("SELECT alias, kind, user_id, since, why FROM identities WHERE alias = any(?)", [aliases])
    old = {row["alias"]: row for row in stored}
    new = {row["alias"]: row for row in rows}
    differing = [alias for alias in aliases if not _same_alias(old.get(alias), new.get(alias))]
    tx.delete("identities", "alias", [alias for alias in differing if alias in old])
    tx.append("identities", tables.IDENTITIES, [new[alias] for alias in differing if alias in new])
    user_of = {alias: row["user_id"] for alias, row in new.items()}
    before = {alias: old[alias]["user_id"] if alias in old else None for alias in differing}
    moved = {alias: user_of.get(alias) for alias in differing if before[alias] != user_of.get(alias)}
    for alias in _repoint(tx, before, moved):
        handed_over.update(user for user in (before[alias], moved[alias]) if user is not None)
    return user_of


def _repoint(tx: Transaction, before: Mapping[str, str | None], now: Mapping[str, str | None]) -> set[str]:
    """Give earlier events of these aliases their present user; return the aliases that have earlier events: most new
    ones have none.

    They are looked for among the events of who it was before, and among those of nobody: events are kept by user, and
    an index by alias too would cost with every event.
    """
    if not now:
        return set()
    users = sorted({user for alias in now if (user := before[alias]) is not None})
    rows = tx.rows(_OF_NOBODY, [sorted(now)]) + (tx.rows(_OF_USERS, [users, sorted(now)]) if users else [])
    stale = {row["event_id"]: now[row["alias"]] for row in rows}
    if stale:
        for table in ("events", "changes"):
            tx.update(table, "event_id", "user_id", stale)
    return {row["alias"] for row in rows}


def _same_alias(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
    if old is None or new is None:
        return old is new
    return all(old[key] == new[key] for key in ("kind", "user_id", "since", "why"))
