"""What every kind of traffic needs: chance, and a way to find somebody to do something with."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from integration.sandbox import names
from integration.sandbox.org import Org, PendingTransaction

Row = dict[str, Any]
Wanted = Callable[[Row], bool]
T = TypeVar("T")

_TRIES = 12
_SAMPLE_DOMAINS = ("example.com", "example.org")


@dataclass(frozen=True)
class FollowUp:
    """Something that an operation left to be done later.

    act       does it, and returns a sentence or None
    step, at  when: in which step, or from which time on; the other one is None
    commits   True for the commit of a transaction that waits open
    """

    act: Callable[[], str | None]
    step: int | None = None
    at: datetime | None = None
    commits: bool = False

    def due(self, step: int, now: datetime) -> bool:
        """Tell whether its time has come."""
        return (self.step is not None and self.step <= step) or (self.at is not None and self.at <= now)


class Desk:
    """The org as a busy team sees it. Not thread-safe: hold ``org.lock`` around each operation.

    later    what operations left to be done
    step     how many operations there were so far
    hidden   (object, field) pairs taken away from the API user, in the order of their hiding
    away     objects taken away from the API user
    removed  (object, field) pairs that were fields once
    made     how many fields were added
    """

    def __init__(self, org: Org, seed: int) -> None:
        self.org = org
        self.rng = random.Random(seed)
        self.later: list[FollowUp] = []
        self.step = 0
        self.hidden: list[tuple[str, str]] = []
        self.away: list[str] = []
        self.removed: list[tuple[str, str]] = []
        self.made = 0
        self._emails = names.EmailBook(set(self._known_emails()))

    # --- finding ------------------------------------------------------------------------------------

    def choose(self, values: Sequence[T]) -> T:
        """Return one of the values."""
        return values[int(self.rng.random() * len(values))]

    def find(self, name: str, wanted: Wanted = lambda _: True, *, deleted: bool = False) -> Row | None:
        """Return a random record (stored fields) that nobody has locked, or None if there is no such one.

        ``deleted`` asks for one in the recycle bin, otherwise deleted records are passed over.
        """
        table = self.org.tables.get(name)
        if table is None or not table.rows:
            return None

        def fits(key: str) -> Row | None:
            row = table.rows[key]
            if table.is_deleted(row) != deleted or key in self.org.locked:
                return None
            record = table.record(row)
            return record if wanted(record) else None

        keys = list(table.rows)
        for _ in range(_TRIES):
            record = fits(self.choose(keys))
            if record is not None:
                return record
        start = int(self.rng.random() * len(keys))
        return next((found for key in keys[start:] + keys[:start] if (found := fits(key)) is not None), None)

    def get(self, name: str, key: str | None) -> Row | None:
        """Return the live record with that id, or None."""
        table = self.org.tables.get(name)
        row = None if table is None or key is None else table.rows.get(key)
        return None if table is None or row is None or table.is_deleted(row) else table.record(row)

    def some(self, name: str, most: int, wanted: Wanted = lambda _: True) -> list[Row]:
        """Return up to so many different live records that nobody has locked."""
        table = self.org.tables[name]
        keys = [key for key, row in table.rows.items() if not table.is_deleted(row) and key not in self.org.locked]
        self.rng.shuffle(keys)
        return list(islice(filter(wanted, (table.record(table.rows[key]) for key in keys)), most))

    def user(self) -> str | None:
        """Return the id of somebody on the team, None (the API user) if nobody else is there."""
        found = self.find("User", lambda row: bool(row["IsActive"]) and row["Id"] != self.org.default_user)
        return found["Id"] if found else None

    def other_user(self, than: str | None) -> Row | None:
        """Return a team member other than that one."""
        taken = (than, self.org.default_user)
        return self.find("User", lambda row: bool(row["IsActive"]) and row["Id"] not in taken)

    def account(self) -> Row | None:
        """Return any live account."""
        return self.find("Account")

    # --- waiting ------------------------------------------------------------------------------------

    def wait_for(
        self, transaction: PendingTransaction, say: str, *, step: int | None = None, at: datetime | None = None
    ) -> None:
        """Leave a transaction open until that step or time, and say a sentence after its commit."""

        def commit() -> str:
            transaction.commit()
            return say

        self.later.append(FollowUp(commit, step, at, commits=True))

    # --- saying -------------------------------------------------------------------------------------

    def who(self, contact: Row) -> str:
        """Return ``Ana Flores at Brightwater Foods``."""
        account = self.get("Account", contact.get("AccountId"))
        return f"{label(contact)} at {label(account)}" if account else label(contact)

    def email(self, first: str, last: str, website: str | None) -> str:
        """Return a new address, at the domain of the website if that is a sample domain."""
        domain = (website or "").removeprefix("https://").removeprefix("www.").lower()
        if not domain.endswith(_SAMPLE_DOMAINS):
            domain = "example.com"
        return self._emails.new(first, last, domain)

    def _known_emails(self) -> list[str]:
        found: list[str] = []
        for name in ("Contact", "Lead"):
            table = self.org.tables.get(name)
            if table is not None and "Email" in table.at:
                place = table.at["Email"]
                found += [row[place].strip().lower() for row in table.rows.values() if row[place]]
        return found


def label(record: Row) -> str:
    """Return what people call a record: its name, else its subject, else its id."""
    return str(record.get("Name") or record.get("Subject") or record["Id"])


def dollars(amount: float | None) -> str:
    """Return ``$1,234.50``, or ``an unknown sum``."""
    return "an unknown sum" if amount is None else f"${amount:,.2f}"
