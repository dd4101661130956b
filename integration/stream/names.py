"""What the streams and keys are called, and how entry ids compare. Pure.

What is changed together in one transaction shares a slot of Redis Cluster: the names of such keys hold the name of
the stream in braces, and only what stands in braces is hashed. A stream and its dead letters are two slots.
"""

from datetime import UTC, datetime

GROUP = "store"
"""The consumer group of the flattener."""

PRODUCT_STREAM = "product.events"
TAKEN_KEY = "headrace:taken:{product.events}"
"""A sorted set: which product events were taken lately, by the hash of their ids, and when (ms since 1970). In the slot
of their stream."""
SCHEMAS_KEY = "headrace:schemas"
"""A hash: schema id -> the object's description (integration.core.catalog.to_json)."""

SWEEP_REQUESTS = "headrace:sweep"
"""A list: sweeps that a worker is asked for, as JSON; the worker answers in `answer_key`."""
SWEEPER_KEY = "headrace:sweeper"
"""Process id of the worker that answers them."""
REPLAY_REQUESTS = "headrace:replay"
"""A list: replays that a worker is asked for, as JSON; the worker answers in `answer_key`."""
REPLAYER_KEY = "headrace:replayer"
"""Process id of the worker that answers them."""
SWEPT_KEY = "headrace:swept"
"""When the last whole sweep began, by Salesforce's clock."""
REREAD_KEY = "headrace:reread"
"""A hash: how far the re-reading of formulas is (`position`), when its round began (`began`), and object -> when its
formulas were last read from beginning to end (JSON)."""
POLLER_KEY = "headrace:poller"
"""A hash: what the poller last did, and at what pace (integration.stream.metrics)."""

LOST_KEY = "headrace:lost"
"""A set: streams that were deleted with entries the store may not have had; the poller reads their objects again."""

ORG_KEY = "headrace:org"
"""The id of the org whose streams these are (integration.stream.orgs)."""
LAYOUT_KEY = "headrace:layout"
"""Which names the keys have (integration.stream.renaming)."""

ORIGIN = "0-0"
"""The offset before every entry."""

_CRM = "crm."
_DEAD = ".dead"


def stream_of(object_name: str) -> str:
    """Return the stream of an object: `Contact` -> `crm.contact`, `cbit__Clearbit__c` -> `crm.cbit__clearbit__c`."""
    return _CRM + object_name.lower()


def dead_of(stream: str) -> str:
    """Return the stream that keeps the dead letters of a stream."""
    return stream + _DEAD


def alive_of(stream: str) -> str:
    """Undo `dead_of`; any other stream comes back as it is."""
    return stream.removesuffix(_DEAD)


def is_ours(stream: str) -> bool:
    """True for a stream of headrace; other programs may keep streams in the same Redis."""
    return stream.startswith(_CRM) or alive_of(stream) == PRODUCT_STREAM


def cursor_key(object_name: str) -> str:
    """Return the key of the object's cursor (the JSON of schemas.Cursor). In the slot of its stream."""
    return f"headrace:cursor:{{{stream_of(object_name)}}}"


def seen_key(object_name: str) -> str:
    """Return the key of the hash of what the overlap has seen: record id -> mark. In the slot of its stream."""
    return f"headrace:seen:{{{stream_of(object_name)}}}"


def answer_key(requests: str, run_id: str) -> str:
    """Return the key of the list in which the worker answers a request that it found in the list `requests`."""
    return f"{requests}:{run_id}"


def buried_key(stream: str) -> str:
    """Return the key of the set of offsets that lie in the stream's dead letters. In their slot."""
    return f"headrace:buried:{{{dead_of(stream)}}}"


def settled_key(stream: str) -> str:
    """Return the key of the hash that tells what became of dead letters: offset -> `retried` or `dropped`. In their
    slot."""
    return f"headrace:settled:{{{dead_of(stream)}}}"


def retried_key(stream: str) -> str:
    """Return the key of the hash of dead letters that were just put back: their offset among the dead -> the new one
    in the stream. In the slot of the stream."""
    return f"headrace:retried:{{{stream}}}"


def lease_key(role: str) -> str:
    """Return the key that holds who has the role of `poller` or `flattener` (integration.stream.lease)."""
    return f"headrace:lease:{role}"


def offset_key(offset: str) -> tuple[int, int]:
    """Return an entry id as a pair that compares as Redis does: `1795323942655-10` comes after `1795323942655-9`.

    A bare number means sequence 0. Raises ValueError for anything that is not an entry id.
    """
    millis, dash, sequence = offset.partition("-")
    if not _is_number(millis) or (dash and not _is_number(sequence)):
        raise ValueError(f"{offset!r} is not an entry id: it looks like 1795323942655-0")
    return int(millis), int(sequence) if dash else 0


def offset_time(offset: str) -> str | None:
    """Return the time an entry id was given, ISO 8601 UTC with milliseconds; None where it tells no time."""
    try:
        millis = offset_key(offset)[0]
        at = datetime.fromtimestamp(millis / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if millis else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
