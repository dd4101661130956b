"""An object in the course of its pass."""

from typing import Any

from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from integration.errors import UnreachableError
from integration.source.answers import Answer
from integration.source.captures import Reading, hashed_fields, read_rows
from integration.source.fill import drifted
from integration.source.passes import Position, end_of_pass, forgettable, kept_from, mid_pass, plan_pass
from integration.source.soql import Soql
from integration.source.tools import Tools
from integration.source.walk import Walk
from schemas import Cursor


class PassWork:
    """One pass over an object, page by page: `query` asks for the next page, `take` publishes the answer.

    cursor  as saved; None for an object that was never read: then `fresh` is where it begins
    told    of which fields history rows are wanted (None: the object is no history of fields)

    `begin` comes first.
    """

    def __init__(
        self, tools: Tools, schema: ObjectSchema, cursor: Cursor | None, fresh: Cursor, told: frozenset[str] | None
    ) -> None:
        self.schema = schema
        self.marks = tools.outlet.marks(schema.object, cursor)
        self.cursor = cursor if cursor is not None else fresh
        self.told = told
        self.is_through = False
        self._tools = tools
        self._names = hashed_fields(schema)
        if cursor is None:
            self.cursor = fresh.model_copy(update={"schema_id": schema.schema_id})
        else:
            self._adopt(schema)

    def begin(self, now: str, *, must_be_wide: bool = False) -> None:
        """Plan the pass; `now` is Salesforce's clock."""
        self.this = plan_pass(self.cursor, now, self._tools.overlap, self.marks, must_be_wide=must_be_wide)
        self.walk = Walk(self.schema, self.this, self._tools.ease(self.name))

    def reread(self, words: frozenset[str]) -> None:
        """Have the rows of a history object about these fields read again: while a field is hidden, none of its history
        is taken. An object that is read for the first time is read whole anyway."""
        if words and self.cursor.covered_until is not None:
            filling = tuple(sorted(words.union(self.cursor.filling)))
            self.cursor = self.cursor.model_copy(update={"filling": filling, "fill_after": ""})

    @property
    def name(self) -> str:
        """The object's name."""
        return self.schema.object

    def query(self) -> Soql:
        """Ask for the next page."""
        return self.walk.query()

    def take(self, answer: Answer) -> bool:
        """Publish the answer to the query; say whether there are more."""
        is_exhausted = answer.done and len(answer.records) < self.walk.ease.limit
        return self.take_rows(answer.records, is_exhausted=is_exhausted)

    def take_rows(self, rows: list[dict[str, Any]], *, is_exhausted: bool) -> bool:
        """Publish rows, in the order of (stamp, Id); say whether the pass goes on.

        `is_exhausted` says that there are no more of those that the query asked for.
        """
        reading = self._read(rows)
        if not is_exhausted and reading.last in (None, self.walk.after):
            raise UnreachableError(f"Salesforce's answer for {self.name} ends before its first row: try again.")
        is_last = self.walk.moved(reading.last, is_exhausted=is_exhausted)
        late_seen = self._late(reading.is_late)
        if is_last:
            self._end(reading, self.walk.after, late_seen)
        elif reading.last is not None:
            cursor = mid_pass(self.cursor, self.this, reading.last, late_seen=late_seen)
            self._publish(Page(cursor, reading.captures, reading.seen, (), self.schema))
        if is_last and self.this.is_resumed:
            # It began before an interruption: what became visible behind its position since needs a pass from now.
            self.begin(self._tools.client.server_time)
            return True
        self.is_through = is_last
        return not is_last

    def described(self, schema: ObjectSchema) -> None:
        """Go on under another description of the object."""
        self.schema = self.walk.schema = schema
        self._names = hashed_fields(schema)
        self._adopt(schema)

    def eased(self) -> str | None:
        """Ask for less from now on; return the middle of a sentence about it, None when nothing less can be asked."""
        return self.walk.eased()

    def _adopt(self, schema: ObjectSchema) -> None:
        """Take note of new fields, should the object have been read under another description so far."""
        known = self.cursor.schema_id
        if known != schema.schema_id:
            old = self._tools.outlet.schema(known) if known is not None else None
            self.cursor = drifted(self.cursor, schema, old)

    def _read(self, rows: list[dict[str, Any]]) -> Reading:
        reading = read_rows(
            rows,
            org=self._tools.client.org_id,
            schema=self.schema,
            names=self._names,
            this=self.this,
            marks=self.marks,
            seen_at=self._tools.client.server_time,
            told=self.told,
        )
        self._tools.report.count(self.name).add_page(len(rows), reading)
        return reading

    def _end(self, reading: Reading, last: Position | None, late_seen: bool) -> None:
        cursor = end_of_pass(self.cursor, self.this, last, late_seen=late_seen)
        forget: list[str] = []
        if self.this.is_wide:
            start = kept_from(cursor, self._tools.overlap)
            forget = forgettable({**self.marks, **reading.seen}, start, cursor.deleted_until)
        self._publish(Page(cursor, reading.captures, reading.seen, forget, self.schema))

    def _publish(self, page: Page) -> None:
        self._tools.outlet.publish(page, self.marks)
        self.cursor = page.cursor

    def _late(self, is_late: bool) -> bool:
        if is_late and not self.cursor.late_seen:
            self._tools.log.warning(
                f"{self.name}: a row became visible more than {self._tools.overlap:g} seconds after its stamp, so "
                "each poll reads further back from now on; raise poll.overlap_seconds if transactions are long here."
            )
        return self.cursor.late_seen or is_late
