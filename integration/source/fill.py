"""New fields: which ones an object has gained, and reading again the records in which they are filled."""

from collections.abc import Iterator, Mapping
from typing import Any

from integration.core.catalog import Field, ObjectSchema
from integration.core.page import Page
from integration.errors import UnreachableError
from integration.source.answers import Answer
from integration.source.captures import hashed_fields, read_rows
from integration.source.histories import is_of_selected
from integration.source.passes import Pass, kept_from
from integration.source.soql import Soql, filled_query
from integration.source.tools import Tools
from schemas import Cursor

_SMALLEST_PAGE = 200
_DONE: Mapping[str, Any] = {"filling": (), "fill_after": "", "fill_all": False}


def new_fields(old: ObjectSchema, schema: ObjectSchema) -> Iterator[str]:
    """Name the fields that an object has gained, or that may hold other values than before though no stamp moves.

    Another type may empty a field. And a field that was removed and made anew under its name looks as if it had only
    got another type, or had been a formula before.
    """
    before = {field.name: _made(field) for field in old.fields}
    for field in schema.fields:
        if before.get(field.name) != _made(field):
            yield field.name


def _made(field: Field) -> tuple[str, bool]:
    return field.type, field.calculated


def drifted(cursor: Cursor, schema: ObjectSchema, old: ObjectSchema | None) -> Cursor:
    """Return the cursor under another description of its object: new fields are to be filled.

    `old` is what the cursor's `schema_id` names; where nobody knows it any more, nothing can be called new.
    """
    came = tuple(new_fields(old, schema)) if old is not None else ()
    known = {field.name for field in old.fields} if old is not None else set()
    shown = {field.name for field in schema.fields}
    left = [name for name in known if name not in shown]
    return cursor.model_copy(
        update={
            "schema_id": schema.schema_id,
            "filling": tuple(dict.fromkeys((*cursor.filling, *came))),
            "fill_after": "" if came else cursor.fill_after,
            # The store keeps the last value of a field that is not shown: it may have been emptied meanwhile. What has
            # another type now was emptied in the records whose value did not fit it.
            "fill_all": cursor.fill_all or not known.union(cursor.gone).isdisjoint(came),
            "gone": tuple(dict.fromkeys(name for name in (*cursor.gone, *sorted(left)) if name not in shown)),
        }
    )


class FillWork:
    """An object in the course of being read again, in the order of Id, for the fields in its cursor's `filling`.

    Every page saves how far it has come. Rows in which none of the fields is filled are not published, unless one of
    the fields has come back or was retyped: then the store may hold a value that is no more. Of a history object
    `filling` holds words for fields of its parent: the rows about these are read again.
    """

    def __init__(self, tools: Tools, schema: ObjectSchema, cursor: Cursor, told: frozenset[str] | None) -> None:
        self.cursor = cursor
        self._tools = tools
        self._told = told
        self._marks = tools.outlet.marks(schema.object, cursor)
        self._limit = tools.page_size
        self._is_filtered = True
        self.schema = schema
        self._look_at(schema)

    @property
    def name(self) -> str:
        """The object's name."""
        return self.schema.object

    def begin(self) -> bool:
        """Say whether there is anything to read; if all new fields have gone again, there is not."""
        is_something = bool(self._fields or self._words)
        if not is_something:
            self._publish(_DONE, Page(self.cursor))
        return is_something

    def query(self) -> Soql:
        """Ask for the next page."""
        return filled_query(self.schema, self._fields if self._is_filtered else (), self.cursor.fill_after, self._limit)

    def take(self, answer: Answer) -> bool:
        """Publish a page; say whether there are more."""
        is_last = answer.done and len(answer.records) < self._limit
        last_id = next((row["Id"] for row in reversed(answer.records) if isinstance(row.get("Id"), str)), None)
        if not is_last and last_id is None:
            raise UnreachableError(f"Salesforce's answer for {self.name} ends before its first row: try again.")
        reading = read_rows(
            [row for row in answer.records if self._is_filled(row)],
            org=self._tools.client.org_id,
            schema=self.schema,
            names=hashed_fields(self.schema),
            this=Pass(started_at="", mark_from=kept_from(self.cursor, self._tools.overlap)),
            # A value of another type may say the same and belong in another column: then what was seen counts anew.
            marks={} if self.cursor.fill_all else self._marks,
            seen_at=self._tools.client.server_time,
            origin="backfill",
            told=self._told,
            is_known=True,
        )
        self._tools.report.count(self.name).add_page(len(answer.records), reading)
        self._publish(_DONE if is_last else {"fill_after": last_id}, Page(self.cursor, reading.captures, reading.seen))
        return not is_last

    def described(self, schema: ObjectSchema) -> None:
        """Go on under another description of the object."""
        old = self.schema
        self.cursor = drifted(self.cursor, schema, old)
        self._look_at(schema)

    def eased(self) -> str | None:
        """Ask for less from now on; return the middle of a sentence about it, None when nothing less can be asked."""
        if self._is_filtered:
            # Few fields have an index; Id has one.
            self._is_filtered = False
            return "all its records are now read for the new fields"
        if self._limit > _SMALLEST_PAGE:
            self._limit = max(_SMALLEST_PAGE, self._limit // 2)
            return f"its pages are now {self._limit} rows"
        return None

    def _look_at(self, schema: ObjectSchema) -> None:
        self.schema = schema
        fields = [field for name in self.cursor.filling if (field := schema.field(name)) is not None]
        self._fields = tuple(field.name for field in fields)
        self._words = (self._told or frozenset()).intersection(self.cursor.filling)
        # A checkbox is never null, and comparing it with null is not the same everywhere.
        is_plain = all(field.filterable and field.type != "boolean" for field in fields)
        if self.cursor.fill_all or self._words or not is_plain:
            self._is_filtered = False

    def _is_filled(self, row: Mapping[str, Any]) -> bool:
        if self.cursor.fill_all or any(row.get(name) is not None for name in self._fields):
            return True
        return bool(self._words) and is_of_selected(row, self._words)

    def _publish(self, changes: Mapping[str, Any], page: Page) -> None:
        self.cursor = self.cursor.model_copy(update=changes)
        whole = Page(self.cursor, page.captures, page.seen, (), self.schema)
        self._tools.outlet.publish(whole, self._marks)
