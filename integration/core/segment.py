"""The Segment Tracking API: from the body of a call to product events. Pure.

Written after what its clients really send, which is more than its specification says: traits that sit in the context,
ids that are numbers, clocks that are wrong, calls without a message id.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from integration.core import exactjson
from integration.core.kinds import CallType

TYPES: Final = tuple(one.value for one in CallType)
MOST_EVENT_BYTES: Final = 32 * 1024
"""What the specification allows one event to take, as JSON; its clients refuse larger ones before they send them."""
MOST_EVENTS: Final = 5_000
"""In one call; clients send a hundred at most by themselves."""

_MOST_ID: Final = 1_000
_MOST_NAME: Final = 500
_MOST_TIME: Final = 64
_AHEAD: Final = timedelta(days=1)
"""What lies further in the future is a clock that can't be trusted."""
_OF_VIEWS: Final = ("page", "screen")
_CONTENT: Final = (
    "type", "name", "user_id", "anonymous_id", "previous_id", "group_id", "properties", "traits", "context",
)  # fmt: skip
"""What an event is, beside its time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that can't be taken: its place in the batch (None: the whole call), and why, without any value of it."""

    place: int | None
    reason: str


@dataclass(slots=True)
class Call:
    """What a call brought: events in the shape of schemas.ProductEvent, and those that were refused."""

    events: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class _RefusedError(Exception):
    """Why an event can't be taken."""


def read_call(kind: str | None, body: Any, received_at: datetime, fallback_id: Callable[[], str]) -> Call:
    """Read a call; never raises, whatever the body is.

    `kind` is the type that the address named, None where the body tells: a `batch`, or one event with its `type`.
    `received_at` knows its zone. `fallback_id` makes a message id where none can be told from the content.
    """
    return _read(kind, body, lambda outer: _Reader(kind, outer, received_at, fallback_id))


def read_past(body: Any, imported_at: datetime) -> Call:
    """Read a call of the past, out of a file; never raises. As `read_call`, but that no time is made up.

    An event needs a time that can be read and that is not to come: so what it is called without a `messageId` can
    always be told from its content. What its clock was off is told by its own `receivedAt`, if it has one.
    """
    return _read(None, body, lambda outer: _PastReader(None, outer, imported_at, str))


def _read(kind: str | None, body: Any, reader_of: "Callable[[Mapping[str, Any]], _Reader]") -> Call:
    if not isinstance(body, dict):
        return Call(refused=[Refusal(None, "The body is not a JSON object.")])
    batch = body.get("batch") if kind is None else None
    outer: Mapping[str, Any] = {}
    if batch is None:
        if kind is None and "type" not in body:
            return Call(refused=[Refusal(None, "The body holds neither a batch nor an event with its type.")])
        messages: list[Any] = [body]
    elif not isinstance(batch, list):
        return Call(refused=[Refusal(None, "batch is not a list.")])
    elif len(batch) > MOST_EVENTS:
        return Call(refused=[Refusal(None, f"The batch holds more than {MOST_EVENTS:,} events: send fewer at once.")])
    else:
        messages, outer = batch, body
    reader = reader_of(outer)
    call = Call()
    for place, message in enumerate(messages):
        try:
            call.events.append(reader.event(message))
        except _RefusedError as refused:
            call.refused.append(Refusal(place, str(refused)))
    return call


class _Reader:
    """Reads the events of one call. `outer` is what stands around a batch: it holds for each of its events."""

    def __init__(
        self, kind: str | None, outer: Mapping[str, Any], received_at: datetime, fallback_id: Callable[[], str]
    ) -> None:
        self._kind = kind
        self._outer = outer
        self._sent_at = _moment(outer.get("sentAt"))
        around = outer.get("context")
        self._around: dict[str, Any] = around if isinstance(around, dict) else {}
        self._received_at = received_at.astimezone(UTC)
        self._received = stamp(self._received_at)
        self._fallback_id = fallback_id

    def event(self, message: Any) -> dict[str, Any]:
        """Return the event of a message. Raises _RefusedError."""
        if not isinstance(message, dict):
            raise _RefusedError("The event is not a JSON object.")
        kind = self._kind if self._kind is not None else message.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            raise _RefusedError(f"type is none of {', '.join(TYPES)}.")
        _check_size(message, self._around)
        context = {**self._around, **_object(message, "context")}
        ids = {name: _text(message, name, _MOST_ID) for name in ("userId", "anonymousId", "previousId", "groupId")}
        _check_who(kind, ids)
        own = message.get("sentAt")
        sent_at, original = _moment(own) if own else self._sent_at, _original(message)
        event = {
            "id": "",
            "message_id": _text(message, "messageId", _MOST_ID),
            "type": kind,
            "name": _name(kind, message),
            "user_id": ids["userId"],
            "anonymous_id": ids["anonymousId"],
            "previous_id": ids["previousId"],
            "group_id": ids["groupId"],
            "time": stamp(self._time(message, original, sent_at)),
            "received_at": self._received,
            "sent_at": stamp(sent_at) if sent_at is not None else None,
            "original_time": stamp(original) if original is not None else None,
            "properties": _properties(kind, message),
            "traits": _traits(kind, message, context),
            "context": context,
        }
        if event["message_id"] is None:
            event["message_id"] = self._fallback_id() if original is None else _made_id(event, original)
        event["id"] = f"product:{event['message_id']}"
        return event

    def _time(self, _message: Mapping[str, Any], original: datetime | None, sent_at: datetime | None) -> datetime:
        return corrected(original, sent_at, self._received_at)


class _PastReader(_Reader):
    """The same for events that were not sent to us when they happened."""

    def _time(self, message: Mapping[str, Any], original: datetime | None, sent_at: datetime | None) -> datetime:
        if original is None:
            raise _RefusedError("An event of the past needs a timestamp, as ISO 8601.")
        received_at = _moment(message.get("receivedAt") or self._outer.get("receivedAt"))
        time = original if received_at is None else corrected(original, sent_at, received_at)
        if time > self._received_at + _AHEAD:
            raise _RefusedError("The time of the event is still to come.")
        return time


def _made_id(event: Mapping[str, Any], original: datetime) -> str:
    """Return an id that is a function of what happened, and when: told again, in whatever form, it is the same.

    Without a time of its own there is none: two that are alike may well be two.
    """
    content = {name: event[name] for name in _CONTENT} | {"at": original.isoformat()}
    return hashlib.blake2b(exactjson.dumps(content, sort_keys=True), digest_size=16).hexdigest()


def corrected(original: datetime | None, sent_at: datetime | None, received_at: datetime) -> datetime:
    """Return when something happened, by our clock: as long before it was received as it was before it was sent.

    `original` and `sent_at` are by the client's clock. Without the latter the client's clock is trusted; without the
    former, or for what would lie more than a day in the future, it is `received_at`.
    """
    if original is None:
        return received_at
    try:
        time = original if sent_at is None else received_at - (sent_at - original)
        return received_at if time > received_at + _AHEAD else time
    except OverflowError:
        return received_at


def _check_size(message: Mapping[str, Any], around: Mapping[str, Any]) -> None:
    try:
        size = len(exactjson.dumps(message)) + (len(exactjson.dumps(around)) if around else 0)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        # Half a character, a number beyond all bounds, or hundreds of lists in lists: no store could keep it.
        raise _RefusedError("The event holds a number or text that can't be kept, or is nested too deeply.") from None
    if size > MOST_EVENT_BYTES:
        raise _RefusedError(f"The event is larger than {MOST_EVENT_BYTES // 1024} KB.")


def _check_who(kind: str, ids: Mapping[str, str | None]) -> None:
    if kind == "alias":
        if ids["previousId"] is None or ids["userId"] is None:
            raise _RefusedError("An alias needs both previousId and userId.")
    elif ids["userId"] is None and ids["anonymousId"] is None:
        raise _RefusedError("The event has neither userId nor anonymousId.")


def _name(kind: str, message: Mapping[str, Any]) -> str | None:
    if kind in _OF_VIEWS:
        return _text(message, "name", _MOST_NAME)
    if kind != "track":
        return None
    name = _text(message, "event", _MOST_NAME)
    if name is None:
        raise _RefusedError("A track call needs the name of the event under event.")
    return name


def _properties(kind: str, message: Mapping[str, Any]) -> dict[str, Any]:
    properties = _object(message, "properties")
    category = message.get("category") if kind in _OF_VIEWS else None
    return properties if category is None or "category" in properties else {**properties, "category": category}


def _traits(kind: str, message: Mapping[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Return the traits, those that sit in the context included, where they are taken out."""
    traits = _object(message, "traits")
    around = context.get("traits")
    # Around a group call it is the user whose traits these are.
    if kind == "group" or not isinstance(around, dict):
        return traits
    del context["traits"]
    return {**around, **traits}


def _object(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _RefusedError(f"{name} is not a JSON object.")
    return value


def _text(message: Mapping[str, Any], name: str, most: int) -> str | None:
    """Return a text, trimmed; a number as text; None where there is nothing."""
    value = message.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise _RefusedError(f"{name} is neither text nor a number.")
    text = (value if isinstance(value, str) else exactjson.plain(value)).strip()
    if len(text) > most:
        raise _RefusedError(f"{name} is longer than {most:,} characters.")
    if "\x00" in text:  # which not every store can keep
        raise _RefusedError(f"{name} holds a NUL character.")
    return text or None


def _original(message: Mapping[str, Any]) -> datetime | None:
    told = message.get("originalTimestamp")
    return _moment(message.get("timestamp") if told is None else told)


def _moment(value: Any) -> datetime | None:
    """Read ISO 8601 (without a zone, or with the word UTC for one: UTC); None for anything else."""
    if not isinstance(value, str) or len(value) > _MOST_TIME:
        return None
    try:
        moment = datetime.fromisoformat(value.strip().upper().removesuffix(" UTC"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def stamp(moment: datetime) -> str:
    """Write a time in UTC as the events have it: to the millisecond, always, so their order is that of their texts."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
