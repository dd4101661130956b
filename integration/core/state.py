"""The last image of a record as `headrace.states` keeps it: its values, without the names of their fields.

Names are more than half of a capture's JSON, and all records of an object have the same ones. So they are kept once, in
`headrace.layouts`: what a batch reads and writes of the last images, in memory too, is half as much.
"""

import hashlib
from collections.abc import Mapping, Sequence

from integration.core import exactjson, image
from integration.core.image import Image

Layouts = Mapping[str, Sequence[str]]
"""Layout -> the names of the fields, in the order of the values."""

_VALUES_BEGIN = 10


class UnknownLayoutError(ValueError):
    """Nobody knows which fields these are the values of."""


def layout_of(names: Sequence[str]) -> str:
    """Return what the layout of fields with these names, in this order, is called: the same in every store."""
    return hashlib.blake2b(" ".join(names).encode(), digest_size=8).hexdigest()


def pack(one: Image, layout: str) -> bytes:
    """Return an image as a JSON array: its layout, what is known of the record, and the values of its fields."""
    told = (layout, one.capture_id, one.org, one.object, one.record_id, one.version, one.is_deleted, one.schema_id,
            one.origin, one.seen_at)  # fmt: skip
    return exactjson.dumps([*told, *one.fields.values()])


def is_packed(payload: bytes) -> bool:
    """Tell a packed image from the JSON of a capture: a state was that before there were layouts."""
    return payload.startswith(b"[")


def unpack(payload: bytes, layouts: Layouts) -> Image:
    """Return the image, without the JSON of its capture.

    Raises UnknownLayoutError, and ValueError for what is no image; neither names a value.
    """
    if not is_packed(payload):
        return image.read(payload)
    told = exactjson.loads(payload)
    names = layouts.get(told[0]) if told else None
    if names is None or len(told) != len(names) + _VALUES_BEGIN:
        raise UnknownLayoutError("the names of its fields are not in headrace.layouts")
    _, capture_id, org, object_name, record_id, version, is_deleted, schema_id, origin, seen_at = told[:_VALUES_BEGIN]
    fields = dict(zip(names, told[_VALUES_BEGIN:], strict=True))
    return Image(object_name, record_id, version, is_deleted, fields, schema_id, origin, seen_at, capture_id, org, b"")
