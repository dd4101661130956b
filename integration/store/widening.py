"""How wide a decimal column must become so that no digit is lost: DuckDB's decimals have 38 digits at most."""

from typing import NamedTuple

MAX_DIGITS = 38
_QUICK_DIGITS = 18  # up to here DuckDB computes with 64-bit integers


class Shape(NamedTuple):
    """The precision (all digits) and scale (digits after the point) of a decimal column."""

    precision: int
    scale: int

    @property
    def before(self) -> int:
        """Digits before the point."""
        return self.precision - self.scale


def holds(column: Shape, values: Shape) -> bool:
    """Tell whether every number of one shape fits another unrounded."""
    return values.scale <= column.scale and values.before <= column.before


def widened(column: Shape, values: Shape) -> Shape | None:
    """Return the shape that holds both, or None when that takes more than 38 digits.

    Widening rewrites the column, so it goes in two steps only (18 and 38 digits), not digit by digit.
    """
    scale = max(column.scale, values.scale)
    digits = max(column.before, values.before) + scale
    if digits > MAX_DIGITS:
        return None
    return Shape(_QUICK_DIGITS if digits <= _QUICK_DIGITS else MAX_DIGITS, scale)
