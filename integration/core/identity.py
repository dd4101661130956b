"""Who is one person. Pure, and a function of the records alone: the order in which they came does not matter.

Live contacts and live unconverted leads with one e-mail are one person, and so are a converted lead and its contact,
a merged loser and its winner, a product's user and the anonymous ids it turned out to be. Conversions, merges and
sign-ins form chains, each of which ends in one record (its root); only roots that are live can share an e-mail. So
every person is a group of roots with the chains that end in them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

PRODUCT: Final = "Product"
"""What a product identity is called, where contacts and leads go by their objects."""

SPACE = " \t\n\r\x0b\x0c\u00a0"
"""What is trimmed from an e-mail: named here so that a store's SQL trims the same."""

# A chain of merges longer than this is a fault in the data (or a circle).
_LONGEST_CHAIN = 50


class Record(NamedTuple):
    """A contact, a lead or a product identity, as far as identity looks at it. `email` is trimmed and in lower case,
    or None."""

    record_id: str
    object: str
    created: str
    version: str
    email: str | None
    is_deleted: bool
    is_converted: bool
    follows: str | None
    """The record this one ended in: the contact of a conversion, the winner of a merge, the user of an anonymous id."""
    shown_email: str | None = None
    """The e-mail as the CRM has it."""
    account_id: str | None = None
    """The account of a contact; the one a lead was converted to."""
    owner_id: str | None = None
    is_user: bool = False
    """Whether a product identity was ever a user id."""

    @property
    def is_live(self) -> bool:
        """Tell whether the record stands for a person by itself."""
        return not self.is_deleted and not self.is_converted

    @property
    def is_product(self) -> bool:
        """Tell a product identity from a record of the CRM."""
        return self.object == PRODUCT

    @property
    def is_contact(self) -> bool:
        """Tell a contact from all others."""
        return self.object == "Contact"


@dataclass(frozen=True, slots=True)
class Person:
    """The records that are one person, and what follows from them alone."""

    user_id: str
    members: tuple[Record, ...]
    owner: Record
    """The record that gives the user_id."""
    contact: Record | None
    """The contact whose properties the person shows."""
    lead: Record | None
    """The lead whose properties the person shows."""
    is_deleted: bool

    @property
    def account_id(self) -> str | None:
        """The account of that contact; for a lead, the one it was converted to."""
        record = self.contact or self.lead
        return record.account_id if record else None

    @property
    def email(self) -> str | None:
        """The join key: of the record that gives the user_id, else of the first other one that has an e-mail."""
        return normal_email(self.shown_email)

    @property
    def shown_email(self) -> str | None:
        """The same e-mail as the CRM has it."""
        shown = (r.shown_email for r in (self.owner, *self.members) if r.email)
        return next(shown, None)

    @property
    def first_seen(self) -> str:
        """The earliest CreatedDate of the records."""
        return min(r.created for r in self.members)


def normal_email(value: Any) -> str | None:
    """Return an e-mail as the join key: trimmed, lower case; None for an empty one."""
    if not isinstance(value, str):
        return None
    return value.strip(SPACE).lower() or None


FACTS: Mapping[str, tuple[str, ...]] = {
    "Contact": ("Email", "AccountId", "OwnerId", "MasterRecordId", "CreatedDate"),
    "Lead": (
        "Email", "ConvertedAccountId", "ConvertedContactId", "IsConverted", "OwnerId", "MasterRecordId", "CreatedDate",
    ),
}  # fmt: skip
"""The fields `record_of` reads, per object."""


def record_of(object_name: str, facts: Mapping[str, Any]) -> Record:
    """Read from the facts of a contact or lead (see store.protocol.Transaction.facts) what identity needs."""
    converted = bool(facts.get("IsConverted"))
    follows = facts.get("MasterRecordId") if facts["is_deleted"] else None
    if not follows and converted:
        follows = facts.get("ConvertedContactId")
    return Record(
        facts["Id"],
        object_name,
        facts.get("CreatedDate") or facts["version"],
        facts["version"],
        normal_email(facts.get("Email")),
        facts["is_deleted"],
        converted,
        follows or None,
        facts.get("Email") or None,
        facts.get("AccountId") or facts.get("ConvertedAccountId") or None,
        facts.get("OwnerId"),
    )


def stitch(records: Mapping[str, Record], *, match_email: bool, max_cluster: int) -> list[Person]:
    """Group records into people.

    `records` must be closed: with a record come all that share its e-mail and all it is chained to. An e-mail that
    more than `max_cluster` live records share is nobody's own (a shared mailbox): it joins none of them.
    """
    shared = shared_mailboxes(records.values(), max_cluster)
    groups: dict[str, list[Record]] = {}
    for record in records.values():
        root = _root(record, records)
        joins = match_email and root.is_live and root.email and root.email not in shared
        groups.setdefault(f"email:{root.email}" if joins else root.record_id, []).append(record)
    return [person(members) for members in groups.values()]


def shared_mailboxes(records: Iterable[Record], max_cluster: int) -> set[str]:
    """Return the e-mails that too many live records share to be one person's."""
    counts: dict[str, int] = {}
    for record in records:
        if record.is_live and record.email:
            counts[record.email] = counts.get(record.email, 0) + 1
    return {email for email, count in counts.items() if count > max_cluster}


def identities(people: Iterable[Person], shared: set[str]) -> list[dict[str, Any]]:
    """List the rows of `identities` of these people: each alias once, with the rule that joined it."""
    rows: list[dict[str, Any]] = []
    ids: set[str] = set()
    claims: dict[str, tuple[tuple[bool, bool, str, str], dict[str, Any]]] = {}
    for person in people:
        for record in person.members:
            rows.append(_record_alias(person, record))
            ids.add(record.record_id)
            if not record.email or record.email in shared:
                continue
            rank = (not record.is_live, person.is_deleted, record.created, record.record_id)
            if record.email not in claims or rank < claims[record.email][0]:
                claims[record.email] = (rank, _email_alias(person, record))
    # A product may use e-mails as its ids: then the id is the alias.
    return rows + [row for email, (_, row) in claims.items() if email not in ids]


def _root(record: Record, records: Mapping[str, Record]) -> Record:
    for _ in range(_LONGEST_CHAIN):
        following = records.get(record.follows) if record.follows else None
        if following is None:
            return record
        record = following
    # A circle: the lowest id stands for all of it, whichever record the walk began with.
    circle = {record.record_id: record}
    while (following := records[record.follows or ""]).record_id not in circle:
        circle[following.record_id] = record = following
    return circle[min(circle)]


def person(records: Iterable[Record]) -> Person:
    """Return the person that these records are."""
    members = sorted(records, key=lambda r: (r.created, r.record_id))
    live = [r for r in members if r.is_live]
    contacts = [r for r in members if r.is_contact]
    leads = [r for r in members if not (r.is_contact or r.is_product)]
    owner = min(live or members, key=lambda r: (r.is_product, not r.is_contact))
    return Person(
        user_id=owner.record_id,
        members=tuple(members),
        owner=owner,
        contact=_first(contacts),
        lead=_first(leads),
        is_deleted=not live,
    )


def _first(records: list[Record]) -> Record | None:
    """Live before deleted, unconverted before converted, then the earliest, then the lowest id."""
    return min(records, key=lambda r: (r.is_deleted, r.is_converted, r.created, r.record_id), default=None)


def _record_alias(person: Person, record: Record) -> dict[str, Any]:
    if record.is_product:
        return _product_alias(person, record)
    kind = "contact_id" if record.is_contact else "lead_id"
    since, why = record.created, f"{record.object.lower()} record"
    if record.follows and record.is_converted and not record.is_deleted:
        why = f"lead converted to contact {record.follows}"
    elif record.follows and record.is_deleted and not record.is_converted:
        kind = "merged_contact_id" if record.is_contact else kind
        since, why = record.version, f"merged into {record.follows}"
    elif record.follows:
        why = f"ended in {record.follows}"
    elif record.record_id != person.user_id:
        why = f"same e-mail as {person.user_id}"
    return {"alias": record.record_id, "kind": kind, "user_id": person.user_id, "since": since, "why": why}


def _product_alias(person: Person, record: Record) -> dict[str, Any]:
    kind = "product_user_id" if record.is_user else "anonymous_id"
    if record.follows:
        why = f"seen with the user id {record.follows}"
    elif record.record_id == person.user_id:
        why = "product identity"
    else:
        why = f"same e-mail as {person.user_id}"
    return {"alias": record.record_id, "kind": kind, "user_id": person.user_id, "since": record.created, "why": why}


def _email_alias(person: Person, record: Record) -> dict[str, Any]:
    return {
        "alias": record.email,
        "kind": "email",
        "user_id": person.user_id,
        "since": record.created,
        "why": f"e-mail of {record.object.lower()} {record.record_id}",
    }
