"""Pages of captures into streams: each with its cursor, in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from redis.client import Pipeline

from integration import tracing
from integration.core import catalog
from integration.core.catalog import ObjectSchema
from integration.core.page import Page
from integration.errors import RunError
from integration.stream.connection import Client, answering
from integration.stream.entry import to_entry
from integration.stream.names import LOST_KEY, SCHEMAS_KEY, cursor_key, seen_key, stream_of
from integration.stream.pressure import Gate
from schemas import Cursor

_AT_ONCE: Final = 1_000


class Publisher:
    """Publishes pages, and knows how far each object has been read.

    With a gate, publishing waits while too much lies unread in the streams, and waits out a Redis that is full.
    Every method raises UnreachableError when Redis does not answer, FullError (one of them) when it is full.
    """

    def __init__(self, client: Client, gate: Gate | None = None) -> None:
        self._client = client
        self._gate = gate
        self._checked: set[str] = set()

    def cursor(self, object_name: str) -> Cursor | None:
        """Return how far the object has been read; None when it never was. Raises RunError if it can't be read.

        None too, and from then on, when its stream was lost before the store had all of it (see groups.note_loss).
        """
        stream = stream_of(object_name)
        pipe = self._client.pipeline(transaction=False)
        pipe.get(cursor_key(object_name))
        pipe.sismember(LOST_KEY, stream)
        with answering(self._client):
            text, is_lost = pipe.execute()
        if is_lost:
            self.reset(object_name)
            return None
        if text is None:
            return None
        try:
            return Cursor.model_validate_json(text)
        except ValidationError:
            raise RunError(
                f"The saved position of {object_name} (key {cursor_key(object_name)}) can't be read: delete the key "
                f"to have {object_name} read again from the beginning."
            ) from None

    def seen(self, object_name: str) -> dict[str, str]:
        """Return what the overlap has seen: record id -> mark."""
        with answering(self._client):
            marks = self._client.hgetall(seen_key(object_name))
        return {_text(record_id): _text(mark) for record_id, mark in marks.items()}

    def schema(self, schema_id: str) -> catalog.ObjectSchema | None:
        """Return a description that was published with some page; None if it is not known (any more)."""
        with answering(self._client):
            text = self._client.hget(SCHEMAS_KEY, schema_id)
        if text is None:
            return None
        try:
            return catalog.from_json(text)
        except (ValueError, KeyError, TypeError):
            return None

    def publish(self, page: Page) -> list[str]:
        """Publish a page and save its cursor, both or neither; return the offsets of its captures.

        A page without captures still saves its cursor. A page whose answer was lost is sent again by the client, so
        that its captures can lie in the stream twice: their ids tell. Raises RunError when another program uses one
        of headrace's keys for something else.
        """
        name = page.cursor.object
        stream = stream_of(name)
        self._check({stream: b"stream", SCHEMAS_KEY: b"hash", seen_key(name): b"hash"})
        trace = tracing.traceparent()

        def fill(pipe: Pipeline) -> None:
            for capture in page.captures:
                pipe.xadd(stream, to_entry(capture, trace))  # type: ignore[arg-type]
            if page.forget:
                pipe.hdel(seen_key(name), *page.forget)
            if page.seen:
                pipe.hset(seen_key(name), mapping=page.seen)  # type: ignore[arg-type]
            pipe.set(cursor_key(name), page.cursor.model_dump_json())

        return self._send(fill, len(page.captures), stream, page.schema)

    def publish_more(self, captures: Sequence[Mapping[str, Any]], schema: ObjectSchema) -> list[str]:
        """Publish captures of one object beside the poll: no cursor and no mark moves. Return their offsets.

        A thousand at a time, each thousand as a whole or not at all. Raises what `publish` raises.
        """
        stream = stream_of(schema.object)
        self._check({stream: b"stream", SCHEMAS_KEY: b"hash"})
        trace = tracing.traceparent()
        offsets: list[str] = []
        for start in range(0, len(captures), _AT_ONCE):
            batch = captures[start : start + _AT_ONCE]

            def fill(pipe: Pipeline, batch: Sequence[Mapping[str, Any]] = batch) -> None:
                for capture in batch:
                    pipe.xadd(stream, to_entry(capture, trace))  # type: ignore[arg-type]

            offsets += self._send(fill, len(batch), stream, schema)
        return offsets

    def reset(self, object_name: str) -> None:
        """Forget how far the object has been read: the next poll begins at the beginning."""
        with answering(self._client):
            self._client.delete(cursor_key(object_name), seen_key(object_name))
            # Another slot, so after it: who dies in between does both again, since the loss is still noted.
            self._client.srem(LOST_KEY, stream_of(object_name))

    def begin(self, cursor: Cursor, schema: ObjectSchema) -> None:
        """Save the first cursor of an object that something else than the poll has read; one that is there stays."""
        with answering(self._client):
            self._describe(schema)
            self._client.set(cursor_key(cursor.object), cursor.model_dump_json(), nx=True)

    def _send(
        self, fill: Callable[[Pipeline], None], entries: int, stream: str, schema: ObjectSchema | None
    ) -> list[str]:
        """Send one transaction; return the offsets of its first commands, as many as it has entries."""

        def send() -> list[Any]:
            if schema is not None:
                with answering(self._client):
                    self._describe(schema)
            pipe = self._client.pipeline(transaction=True)
            fill(pipe)
            with answering(self._client):
                return pipe.execute()

        if self._gate is None:
            replies = send()
        else:
            replies = self._gate.through(send)
            self._gate.note(entries, [stream])
        return [_text(offset) for offset in replies[:entries]]

    def _describe(self, schema: ObjectSchema) -> None:
        # One hash for all streams, so in another slot than theirs. Before the entries that name it: a description that
        # no entry names yet does no harm, and its id is made of what it says.
        self._client.hsetnx(SCHEMAS_KEY, schema.schema_id, catalog.to_json(schema))

    def _check(self, kinds: dict[str, bytes]) -> None:
        # A transaction goes on after a command that meets the wrong kind of key: the page would be lost and its cursor
        # saved. So look before the first use.
        for key in kinds.keys() - self._checked:
            with answering(self._client):
                kind = self._client.type(key)
            if kind not in (b"none", kinds[key]):
                raise RunError(
                    f"The key {key} holds a {_text(kind)}, not a {_text(kinds[key])} of headrace: delete or rename it, "
                    "or give headrace a Redis database of its own."
                )
            self._checked.add(key)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
