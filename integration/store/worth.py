"""What an account is worth in a year, as far as its org tells: a column of the view `account_health`."""

from integration.core.columns import ColumnType
from integration.store.projection import Shape
from integration.store.quoting import identifier

_TIMES = {"sfdc_account_arr": 1, "sfdc_account_annual_recurring_revenue": 1, "sfdc_account_mrr": 12,
          "sfdc_account_monthly_recurring_revenue": 12}  # fmt: skip
"""Properties that say it, the first that is a number counting -> how many of them make a year."""
_NUMBERS = (ColumnType.DECIMAL, ColumnType.INTEGER)
_WON = (
    "SELECT accountid AS id, sum(amount) AS worth FROM salesforce.opportunity WHERE NOT is_deleted AND iswon "
    "GROUP BY accountid"
)
_UNKNOWN = "SELECT value AS id, CAST(NULL AS DECIMAL(18, 2)) AS worth FROM headrace.meta WHERE FALSE"


def worth(shape: Shape) -> str:
    """Return the SELECT of `id` and `worth` of accounts: what a property says, else what has been won of them."""
    part = shape.parts.get("Account")
    kinds = {one.column: one.type for one in shape.kept.get("Account", ())}
    named = {name: column for column, name in part.properties if kinds.get(column) in _NUMBERS} if part else {}
    for name, times in _TIMES.items():
        if name in named:
            return f"SELECT id, {identifier(named[name])} * {times} AS worth FROM salesforce.account"
    if {"accountid", "amount", "iswon"} <= shape.columns.get("Opportunity", frozenset()):
        return _WON
    return _UNKNOWN
