"""Where pages go."""

from collections.abc import Mapping
from typing import Any, Protocol

import structlog

from integration import tracing
from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from schemas import Cursor

log = structlog.get_logger()


class PageSink(Protocol):
    """Where pages go, and where cursors, marks and descriptions are kept: the streams."""

    def cursor(self, object_name: str, /) -> Cursor | None:
        """Return the saved cursor of the object; None if it was never read."""

    def seen(self, object_name: str, /) -> Mapping[str, str]:
        """Return the saved marks of the object: record id -> mark."""

    def schema(self, schema_id: str, /) -> ObjectSchema | None:
        """Return a description that came with some page; None if it is not known."""

    def publish(self, page: Page, /) -> Any:
        """Publish captures, cursor and marks together, or nothing of it."""


class Outlet:
    """A sink, and what is known of the marks it holds: they need not be fetched as long as nobody else publishes."""

    def __init__(self, sink: PageSink) -> None:
        self._sink = sink
        # Marks by object, with the cursor they were last saved with: the sink still having it says that they are its.
        self._known: dict[str, tuple[Cursor, dict[str, str]]] = {}

    def cursor(self, name: str) -> Cursor | None:
        """Return the saved cursor of the object; None if it was never read."""
        return self._sink.cursor(name)

    def schema(self, schema_id: str) -> ObjectSchema | None:
        """Return a description that came with some page; None if it is not known."""
        return self._sink.schema(schema_id)

    def marks(self, name: str, cursor: Cursor | None) -> dict[str, str]:
        """Return the object's marks, saved with this cursor. `publish` keeps the dict up to date."""
        known = self._known.get(name)
        if known is not None and known[0] == cursor:
            return known[1]
        return dict(self._sink.seen(name))

    def publish(self, page: Page, marks: dict[str, str] | None = None) -> None:
        """Publish a page, and enter what it says into the marks (found here when not given)."""
        name = page.cursor.object
        if marks is None:
            marks = self.marks(name, self._sink.cursor(name))
        self._known.pop(name, None)  # until the sink has taken the page, what it knows is open
        with tracing.span("publish page", object=name, captures=len(page.captures)):
            self._sink.publish(page)
            if page.captures:
                log.debug("page published", object=name, captures=len(page.captures))
        marks.update(page.seen)
        for record_id in page.forget:
            marks.pop(record_id, None)
        self._known[name] = (page.cursor, marks)
