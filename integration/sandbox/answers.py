"""Requests and replies as plain values, before and after HTTP."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from integration.sandbox.errors import OrgError

_WORTH_ZIPPING = 1_024


@dataclass(frozen=True, slots=True)
class Call:
    """One REST request, or one subrequest of a composite. `path` begins behind `/services/data/vNN.0/`."""

    method: str
    version: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: `body` is JSON-ready, or bytes to be sent as they are; None sends no body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json;charset=UTF-8"


def refusal(error: OrgError) -> Answer:
    """The REST form of an error: a list with one object."""
    body: dict[str, Any] = {"message": error.message, "errorCode": error.code}
    if error.fields and error.code not in ("INVALID_FIELD", "MALFORMED_QUERY"):
        body["fields"] = list(error.fields)
    return Answer(error.status, [body])


def encode(answer: Answer) -> bytes:
    """Return the body as bytes."""
    if answer.body is None or isinstance(answer.body, bytes):
        return answer.body or b""
    return orjson.dumps(answer.body)


def zipped(body: bytes, accepted: str) -> bytes | None:
    """Return the body compressed, or None if that is not wanted or not worth it."""
    if "gzip" not in accepted or len(body) < _WORTH_ZIPPING:
        return None
    return zlib.compress(body, 1, wbits=31)
