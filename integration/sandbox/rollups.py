"""Roll-up summaries: numbers about an account's deals, worked out when somebody reads them.

They never move the account's stamp by themselves; `Org.roll_ups_move_stamp` makes the child's change do so.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any

from integration.sandbox.table import Table

if TYPE_CHECKING:
    from integration.sandbox.org import Org


@dataclass(frozen=True)
class RollUp:
    """A formula that counts the live children of a record, or sums one of their fields.

    child    the object of the children
    pointer  their reference to the record
    wanted   (field, value) pairs that a child must have to count
    summed   the field to add up (nulls count as nothing), rounded to cents; None counts the children
    """

    child: str
    pointer: str
    wanted: tuple[tuple[str, Any], ...]
    summed: str | None = None

    def __call__(self, record: Mapping[str, Any], org: "Org") -> float:
        """Return the number for a record; 0 without children."""
        table = org.tables.get(self.child)
        if table is None:
            return 0.0
        # One pass over the children serves all parents, until a child changes.
        version, totals = org.roll_ups.get(self, (-1, {}))
        if version != table.version:
            totals = self._totals(table)
            org.roll_ups[self] = (table.version, totals)
        return totals.get(record["Id"], 0.0)

    def _totals(self, table: Table) -> dict[str, float]:
        names = (self.pointer, *(name for name, _ in self.wanted), *((self.summed,) if self.summed else ()))
        if not all(name in table.at for name in names):
            return {}
        pointer, wanted = table.at[self.pointer], [(table.at[name], value) for name, value in self.wanted]
        amount = None if self.summed is None else table.at[self.summed]
        found: defaultdict[str, list[float]] = defaultdict(list)
        for row in table.rows.values():
            if row[pointer] and not table.is_deleted(row) and all(row[place] == value for place, value in wanted):
                found[row[pointer]].append(1.0 if amount is None else row[amount] or 0.0)
        return {key: round(fsum(values), 2) for key, values in found.items()}


OPEN_PIPELINE = RollUp("Opportunity", "AccountId", (("IsClosed", False),), "Amount")
WON_DEALS = RollUp("Opportunity", "AccountId", (("IsWon", True),))
