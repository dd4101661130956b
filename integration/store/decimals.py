"""Room for numbers in a decimal column: what it takes, and whose fault it is where there is none."""

from collections.abc import Callable
from typing import Final

import pyarrow as pa

from integration.store import arrow
from integration.store.protocol import Misfit
from integration.store.widening import Shape, holds, widened

_TOGETHER: Final = "a number that needs more than 38 digits beside the others of its column"


def room_for(table: str, name: str, column: Shape, values: pa.ChunkedArray, used: Callable[[], Shape]) -> Shape | None:
    """Return what a column must become to hold the values; None if it holds them as it is.

    `used` tells the digits that the numbers in the column use: its type may leave no room, but they rarely need it.
    Raises Misfit (of `table` and `name`) with the rows that can't be held.
    """
    if holds(column, Shape(values.type.precision, values.type.scale)):
        return None
    before, after = arrow.digits_needed(values.to_pylist())
    needed = Shape(before + after, after)
    if holds(column, needed):
        return None
    wide = widened(column, needed)
    if wide is not None:
        return wide
    there = used()
    if there.before + max(column.scale, needed.scale) <= arrow.MAX_DIGITS:
        wide = widened(Shape(there.before + column.scale, column.scale), needed)
    if wide is None:
        raise Misfit(table, name, _too_wide(values, there, column), _TOGETHER)
    return wide


def _too_wide(values: pa.ChunkedArray, used: Shape, column: Shape) -> list[int]:
    """List the rows whose number has no room beside the numbers of the column and of the rows before it."""
    odd, before, after = [], used.before, column.scale
    for place, value in enumerate(values.to_pylist()):
        one_before, one_after = arrow.digits_needed([value])
        if max(before, one_before) + max(after, one_after) > arrow.MAX_DIGITS:
            odd.append(place)
        else:
            before, after = max(before, one_before), max(after, one_after)
    return odd
