"""The columns that the traits of a product's users have in `users`, in memory and in the store."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from integration.core import traits
from integration.core.columns import Column, ColumnType
from integration.core.identity import Person
from integration.core.registry import Registry
from integration.core.schema_changes import Kind
from integration.core.traits import OBJECT, Shown
from integration.store import tables
from integration.store.protocol import Transaction

log = structlog.get_logger()

COLUMNS_AT_MOST: Final = 200
"""A product that makes up a trait for everything would widen everybody's row with it."""
_STORED: Final = "SELECT property FROM headrace.properties WHERE object = 'product' ORDER BY place"


class Traits:
    """Which traits have columns. A column, once there, stays; all are text.

    `excluded` says of (`product`, trait) whether the settings leave it out.
    """

    def __init__(self, tx: Transaction, registry: Registry, excluded: Callable[[str, str], bool]) -> None:
        self._registry = registry
        self._excluded = excluded
        self._columns = dict.fromkeys(row["property"] for row in tx.rows(_STORED))
        self._new: dict[str, str] = {}
        """Column -> the trait it is for, of those that are not in the store for good."""
        self._is_full = False
        for name in self._columns:
            registry.reserve(name)

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of `users`, in the order in which they were added."""
        return [Column(name, ColumnType.TEXT) for name in (*self._columns, *self._new)]

    @property
    def table(self) -> Sequence[Column]:
        """The columns of `headrace.traits`."""
        return [*tables.TRAITS, *self.columns]

    @property
    def is_pending(self) -> bool:
        """Whether there are columns of a transaction that was not committed."""
        return bool(self._new)

    def learn(self, told: Iterable[Mapping[str, Any]]) -> bool:
        """Find columns for traits (name -> value) that have none yet; tell whether any is new, to be saved.

        What was never anything but null, or too long, has no column.
        """
        found = False
        for one in told:
            for trait, value in traits.without(one, self._left_out).items():
                for name, part in traits.parts(trait, value):
                    found |= traits.text(part) is not None and self._is_new(name)
        return found

    def _is_new(self, trait: str) -> bool:
        name = traits.column_name(trait, tables.FIXED_OF_USERS)
        if name is None or name in self._columns or name in self._new:
            return False
        if len(self._columns) + len(self._new) >= COLUMNS_AT_MOST:
            self._tell_full()
            return False
        if not self._registry.reserve(name):
            return False  # a field of Salesforce's has it
        self._new[name] = trait
        return True

    def save(self, tx: Transaction, now: str) -> None:
        """Note the new columns in `headrace.properties` and `schema_log`."""
        first = len(self._columns)
        common = {"object": OBJECT, "prefix_object": OBJECT, "type": str(ColumnType.TEXT)}
        named = [{**common, "field": trait, "property": name} for name, trait in self._new.items()]
        placed = [{**row, "place": first + number, "since": now} for number, row in enumerate(named)]
        tx.append("headrace.properties", tables.PROPERTIES, placed)
        tx.append("schema_log", tables.SCHEMA_LOG, [{**row, "at": now, "kind": str(Kind.ADDED)} for row in named])

    def committed(self) -> None:
        """Note that what was saved is in the store for good."""
        self._columns |= dict.fromkeys(self._new)
        self._new = {}

    def forget(self) -> None:
        """Forget what a transaction that failed has found."""
        self._new = {}

    def shown(self, people: Iterable[Person], told: Mapping[str, traits.Traits]) -> dict[str, Shown]:
        """Return what the rows of people show (by user id) of what was told (by product id) of their records; people
        of whom nothing was told are left out."""
        columns = {*self._columns, *self._new}
        found = {}
        for person in people if told else ():
            mine = {one.record_id: told[one.record_id] for one in person.members if one.record_id in told}
            if mine:
                found[person.user_id] = traits.shown(mine, columns, tables.FIXED_OF_USERS, self._left_out)
        return found

    def write(
        self, tx: Transaction, users: Collection[str], shown: Mapping[str, Shown], *, only_differing: bool
    ) -> None:
        """Have `headrace.traits` hold what these users show, and nothing of those that show nothing."""
        if not (self._columns or self._new):
            return
        rows = [{**one.values, "user_id": user} for user, one in shown.items() if one.values]
        if only_differing:
            tx.make_equal("headrace.traits", "user_id", users, self.table, rows)
            return
        tx.delete("headrace.traits", "user_id", {*users} - {row["user_id"] for row in rows})
        filled = {name for row in rows for name in row}
        tx.upsert("headrace.traits", ("user_id",), [c for c in self.table if c.name in filled], rows)

    def _left_out(self, name: str) -> bool:
        return self._excluded(OBJECT, name)

    def _tell_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            log.warning(
                "no column for more traits",
                limit=COLUMNS_AT_MOST,
                detail="users has as many columns of traits as it takes: the others are in events",
            )
