"""How a pass walks through an object: which rows to ask for next, and how to ask for less where queries run too long.

A query that Salesforce gives up (QUERY_TIMEOUT) is made lighter step by step: smaller pages; the OR of the keyset in
two queries, which an index serves better; a window of time, halved down to a minute. What is too heavy even then is
left to the Bulk API. Pure.
"""

from dataclasses import dataclass

from integration.core.catalog import ObjectSchema
from integration.source.passes import Pass, Position
from integration.source.soql import Soql, datetime_literal, keyset, moment_of, select, shift, sort_key, tie

# Below this a page gains nothing by being smaller: Salesforce's own smallest page.
_SMALLEST_PAGE = 200
_SMALLEST_WINDOW = 60.0
_FIRST_WINDOW = 30 * 86_400.0
# From here on a window is no help any more.
_LARGEST_WINDOW = 86_400.0
# A window that is too large costs two minutes of waiting, so it grows only after some that were not.
_GOOD_BEFORE_GROWING = 4
# Salesforce itself is younger.
_BEFORE_ALL = "1999-01-01T00:00:00Z"


@dataclass(slots=True)
class Ease:
    """How gently an object is asked, kept from pass to pass: rows per page, whether ties are asked for apart, and the
    window in seconds (None: no end)."""

    limit: int
    is_split: bool = False
    window: float | None = None
    good: int = 0

    def grow(self) -> None:
        """Take note of a window that was small enough."""
        self.good += 1
        if self.window is None or self.good < _GOOD_BEFORE_GROWING:
            return
        self.window, self.good = self.window * 2, 0
        if self.window > _LARGEST_WINDOW:
            self.window, self.is_split = None, False


class Walk:
    """The way of one pass. `query` asks; `moved` takes note of the answer, `eased` of a query that ran too long."""

    def __init__(self, schema: ObjectSchema, this: Pass, ease: Ease) -> None:
        self.schema = schema
        self.after = this.after
        """Position of the last row read."""
        self.ease = ease
        self._since = this.since
        self._until = this.started_at
        self._beyond: str | None = None
        self._is_tie = False
        self._end: str | None = None

    def query(self) -> Soql:
        """Ask for the next page."""
        cursor = self.schema.cursor_field
        is_split = self.ease.is_split or self.ease.window is not None
        self._is_tie = is_split and self.after is not None and self._beyond is None
        self._end = None if self._is_tie else self._window_end()
        if self._is_tie and self.after is not None:
            return select(self.schema, tie(cursor, self.after), "Id", self.ease.limit)
        where = self._lower_bound()
        if self._end is not None:
            where += f"{' AND ' if where else ''}{cursor} <= {datetime_literal(self._end)}"
        return select(self.schema, where, f"{cursor}, Id", self.ease.limit)

    def moved(self, last: Position | None, *, is_exhausted: bool) -> bool:
        """Go on behind the last row of the answer (None: there was none); say whether the pass is through.

        `is_exhausted` says that the query has no more rows.
        """
        if last is not None:
            self.after, self._beyond = last, None
        self.ease.grow()
        if not is_exhausted:
            return False
        if self._is_tie and self.after is not None:
            self._beyond = self.after[0]
        elif self._end is not None:
            self._beyond = self._end
        else:
            return True
        return False

    def eased(self) -> str | None:
        """Ask for less from now on; return the middle of a sentence about it, None when nothing less can be asked."""
        ease = self.ease
        if ease.limit > _SMALLEST_PAGE:
            ease.limit = max(_SMALLEST_PAGE, ease.limit // 2)
            return f"its pages are now {ease.limit} rows"
        if not ease.is_split and self.after is not None and self._beyond is None:
            ease.is_split = True
            return "its queries are now split in two"
        span = (moment_of(self._until) - moment_of(self._lower())).total_seconds()
        wide = min(span, 2 * _FIRST_WINDOW) if ease.window is None else min(span, ease.window)
        if self._is_tie or wide <= _SMALLEST_WINDOW:
            return None
        ease.window, ease.good = max(_SMALLEST_WINDOW, wide / 2), 0
        return f"it is now asked for {ease.window:,.0f} seconds at a time"

    def ask_in_bulk(self) -> tuple[str | None, str | None]:
        """Ask for a day at once, as the Bulk API can bring it (all, where nothing was read yet).

        Returns (first stamp, last stamp), both included; None means no bound. `is_behind` says which rows are new.
        """
        self._is_tie, self._end = False, None
        if not (self._beyond or self.after or self._since):
            return None, None
        end = shift(self._lower(), _LARGEST_WINDOW)
        self._end = end if sort_key(end) < sort_key(self._until) else None
        return self._lower(), self._end

    def is_behind(self, position: Position) -> bool:
        """Say whether a row lies behind what has been read."""
        if self._beyond is not None:
            return sort_key(position[0]) > sort_key(self._beyond)
        return self.after is None or (sort_key(position[0]), position[1]) > (sort_key(self.after[0]), self.after[1])

    def _lower(self) -> str:
        return self._beyond or (self.after[0] if self.after else None) or self._since or _BEFORE_ALL

    def _lower_bound(self) -> str:
        cursor = self.schema.cursor_field
        if self._beyond is not None:
            return f"{cursor} > {datetime_literal(self._beyond)}"
        if self.after is not None:
            return keyset(cursor, self.after)
        return f"{cursor} >= {datetime_literal(self._since)}" if self._since is not None else ""

    def _window_end(self) -> str | None:
        if self.ease.window is None:
            return None
        end = shift(self._lower(), self.ease.window)
        return end if sort_key(end) < sort_key(self._until) else None
