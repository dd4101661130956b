"""The door for product events: the Segment Tracking API over HTTP.

    POST /v1/batch, /v1/import                                 {"batch": [{"type": "track", ...}, ...], "sentAt": ...}
    POST /v1/{identify,track,page,screen,group,alias}          one event; also /v1/{i,t,p,s,g,a} and /api/s/<type>
        -> 200 {"success": true}, with "refused": [{"index", "reason"}] where some events can't be used
        -> 400, 401, 403, 413, 415: sending it again does not help · 429, 503: send it again after `Retry-After` seconds

The body is JSON whatever its content type says, gzip or not. The write key is the user name of Basic authentication,
`X-Write-Key`, or `writeKey` in the body. Pages of any site may call. An error says `error` and, as some clients read,
`code` and `message`.
"""

import asyncio
import base64
import binascii
import hmac
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any, Final
from uuid import uuid4

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from integration.core import exactjson, segment
from integration.core.segment import Call, Refusal
from integration.errors import HeadraceError
from integration.stream.connection import FullError
from integration.web.probes import NOT_CACHED

MOST_BYTES: Final = 500 * 1024
"""Of a body as it is sent: what the specification allows a batch."""
MOST_UNPACKED_BYTES: Final = 2 * 1024 * 1024
"""Of a body once it is unpacked: a few kilobytes of gzip can hold gigabytes."""
PREFIXES: Final = ("/v1/", "/api/s/")
"""How the paths of this door begin."""

_SHORT: Final = {"i": "identify", "t": "track", "p": "page", "s": "screen", "g": "group", "a": "alias"}
_AT_ONCE: Final = 8
_MOST_WAITING: Final = 200
_BODY_SECONDS: Final = 30
_FULL_SECONDS: Final = 5
_AWAY_SECONDS: Final = 2
_GZIP: Final = b"\x1f\x8b"
_GZIP_BITS: Final = 31
_ANY_ORIGIN: Final = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
_LATER: Final = "Events can't be taken at the moment: send them again in a few seconds."
_TOO_LARGE: Final = f"The body is larger than {MOST_BYTES // 1024} KB: send fewer events at once."
_TOO_LARGE_UNPACKED: Final = (
    f"The body is larger than {MOST_UNPACKED_BYTES // 1024 // 1024} MB once it is unpacked: send fewer events at once."
)
_NOT_GZIP: Final = "The body begins like gzip, and is not gzip to its end."
_NO_KEY: Final = (
    "This write key is not known here: send one of product.write_keys as the user name of Basic authentication, as "
    "X-Write-Key, or as writeKey in the body."
)
_NO_KEYS: Final = (
    "Events are not taken from other machines without a write key: set product.write_keys "
    "(HEADRACE_PRODUCT__WRITE_KEYS), and have clients send one of them."
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Intake:
    """What the door works with.

    `take` adds events to the stream and returns how many of them were new; it raises FullError while there is no room,
    and any other HeadraceError while it can't be done. `count` is told of every call: its outcome (ok, bad,
    unauthorized, too_large, full, away, failed) and how many events were accepted, duplicates, and refused. Without
    `keys`, events are taken if `is_private`: nobody else can reach the door.
    """

    take: Callable[[Sequence[Mapping[str, Any]]], int]
    keys: Sequence[str] = field(default=(), repr=False)
    is_private: bool = True
    count: Callable[[str, int, int, int], None] = lambda *_: None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: str(uuid4())


def segment_routes(intake: Intake) -> list[Route]:
    """Return the routes."""
    door = _Door(intake)
    kinds: dict[str, str | None] = {"/v1/batch": None, "/v1/import": None, "/api/s/batch": None}
    for kind in segment.TYPES:
        kinds |= {f"/v1/{kind}": kind, f"/api/s/{kind}": kind}
    kinds |= {f"/v1/{letter}": kind for letter, kind in _SHORT.items()}
    return [Route(path, door.endpoint(kind), methods=["POST", "OPTIONS"]) for path, kind in kinds.items()]


class _RefusedError(Exception):
    """A call that is not taken. `seconds` is when to send it again; None: never. `events` is how many were bad."""

    def __init__(
        self, sentence: str, status: int, outcome: str, seconds: int | None = None, *, events: int = 0
    ) -> None:
        super().__init__(sentence)
        self.status, self.outcome, self.seconds, self.events = status, outcome, seconds, events


class _Door:
    """Answers calls: a few at once in threads, more of them wait, and more than that are to come again."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._keys = [key.encode() for key in intake.keys]
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._here = 0

    def endpoint(self, kind: str | None) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers at the address of this type; None: the body tells the type."""

        async def answer(request: Request) -> Response:
            if request.method == "OPTIONS":
                return _preflight(request)
            self._here += 1
            try:
                return await self._answer(kind, request)
            except _RefusedError as refused:
                return self._refused(refused)
            except Exception as error:
                # Not its words: they may hold what the body did.
                at = extract_tb(error.__traceback__)[-1]
                log.error("taking product events failed", error=type(error).__name__, at=f"{at.filename}:{at.lineno}")
                return self._refused(_RefusedError(_LATER, 500, "failed", _AWAY_SECONDS))
            finally:
                self._here -= 1

        return answer

    def _refused(self, refused: _RefusedError) -> Response:
        self._intake.count(refused.outcome, 0, 0, refused.events)
        sentence = str(refused)
        told = {"success": False, "error": sentence, "code": refused.outcome, "message": sentence}
        headers = {"Retry-After": str(refused.seconds)} if refused.seconds is not None else {}
        return _json(told, refused.status, headers)

    async def _answer(self, kind: str | None, request: Request) -> Response:
        if self._here > _MOST_WAITING:
            raise _RefusedError(_LATER, 429, "full", _FULL_SECONDS)
        is_known = self._is_known(request)
        received_at = self._intake.clock()
        raw = await _body(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        async with self._turn:
            return await run_in_threadpool(self._take, kind, raw, encoding, is_known, received_at)

    def _is_known(self, request: Request) -> bool:
        """Tell whether the call may be made; False: if its body holds a key. Raises _RefusedError for a wrong key."""
        if not self._keys:
            if not self._intake.is_private:
                raise _RefusedError(_NO_KEYS, 403, "unauthorized")
            return True
        key = _key_of(request.headers)
        if key:
            self._check(key)
        return bool(key)

    def _check(self, key: str) -> None:
        # All of them, so that the time it takes tells nothing.
        fits = [hmac.compare_digest(key.encode("utf-8", "surrogatepass"), one) for one in self._keys]
        if not any(fits):
            raise _RefusedError(_NO_KEY, 401, "unauthorized")

    def _take(self, kind: str | None, raw: bytes, encoding: str, is_known: bool, received_at: datetime) -> Response:
        body = _parsed(_unpacked(raw, encoding))
        if not is_known:
            key = body.get("writeKey") if isinstance(body, dict) else None
            self._check(key if isinstance(key, str) else "")
        call = segment.read_call(kind, body, received_at, self._intake.new_id)
        if call.refused:
            log.warning(
                "product events refused",
                refused=len(call.refused),
                of=len(call.refused) + len(call.events),
                detail=call.refused[0].reason,
            )
        if call.refused and not call.events:
            raise _RefusedError(_sentence(call.refused), 400, "bad", events=len(call.refused))
        fresh = self._publish(call) if call.events else 0
        self._intake.count("ok", fresh, len(call.events) - fresh, len(call.refused))
        told: dict[str, Any] = {"success": True}
        if call.refused:
            told["refused"] = [{"index": one.place, "reason": one.reason} for one in call.refused]
        return _json(told, 200)

    def _publish(self, call: Call) -> int:
        try:
            return self._intake.take(call.events)
        except FullError:
            raise _RefusedError(_LATER, 429, "full", _FULL_SECONDS) from None
        except HeadraceError:
            # Why is for the log: the sentence names places that are nobody's business out there.
            raise _RefusedError(_LATER, 503, "away", _AWAY_SECONDS) from None


def _key_of(headers: Mapping[str, str]) -> str | None:
    """Return the write key that the headers carry."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user = base64.b64decode(given.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, ValueError):
            user = ""
        if user:
            return user
    return headers.get("x-write-key", "").strip() or None


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BYTES:
                    raise _RefusedError(_TOO_LARGE, 413, "too_large")
    except (TimeoutError, ClientDisconnect):
        raise _RefusedError("The body has not come to its end.", 408, "bad") from None
    return bytes(body)


def _unpacked(raw: bytes, encoding: str) -> bytes:
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise _RefusedError("Send the body as it is, or with `Content-Encoding: gzip`.", 415, "bad")
    # Some proxies unpack a body and leave the header, some libraries pack it and forget the header.
    if not raw.startswith(_GZIP):
        return raw
    unpacking = zlib.decompressobj(_GZIP_BITS)
    try:
        unpacked = unpacking.decompress(raw, MOST_UNPACKED_BYTES + 1)
    except zlib.error:
        raise _RefusedError(_NOT_GZIP, 400, "bad") from None
    if len(unpacked) > MOST_UNPACKED_BYTES:
        raise _RefusedError(_TOO_LARGE_UNPACKED, 413, "too_large")
    if not unpacking.eof or unpacking.unused_data:
        raise _RefusedError(_NOT_GZIP, 400, "bad")
    return unpacked


def _parsed(body: bytes) -> Any:
    try:
        return exactjson.loads(body)
    except (ValueError, ArithmeticError, RecursionError):
        raise _RefusedError("The body is not JSON.", 400, "bad") from None


def _sentence(refused: Sequence[Refusal]) -> str:
    if len(refused) == 1:
        return refused[0].reason
    return f"None of the {len(refused):,} events can be used. The first: {refused[0].reason}"


def _preflight(request: Request) -> Response:
    asked = request.headers.get("access-control-request-headers", "")
    headers = {
        **_ANY_ORIGIN,
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Max-Age": "86400",
        "Vary": "Access-Control-Request-Headers",
    }
    if asked:
        headers["Access-Control-Allow-Headers"] = asked
    return Response(status_code=204, headers=headers)


def _json(value: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    told = {**NOT_CACHED, **_ANY_ORIGIN, **(headers or {})}
    return Response(exactjson.dumps(value), status, told, "application/json")
