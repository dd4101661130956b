"""Last images of records, read from a store by whoever keeps no layouts in memory."""

from collections.abc import Callable, Iterable
from typing import Any

from integration.core import exactjson
from integration.core.image import Image
from integration.core.state import is_packed, unpack

Ask = Callable[[str], list[dict[str, Any]]]
"""Runs one of headrace's own reading statements."""

_LAYOUTS = "SELECT layout, names::VARCHAR AS names FROM headrace.layouts"


def read_layouts(ask: Ask) -> dict[str, tuple[str, ...]]:
    """Return all layouts: see integration.core.state."""
    return {row["layout"]: tuple(exactjson.loads(row["names"])) for row in ask(_LAYOUTS)}


def read_images(payloads: Iterable[str | bytes], ask: Ask) -> list[Image]:
    """Return the images that payloads of `headrace.states` keep. Raises ValueError: see unpack."""
    raw = [one.encode() if isinstance(one, str) else one for one in payloads]
    layouts = read_layouts(ask) if any(map(is_packed, raw)) else {}
    return [unpack(one, layouts) for one in raw]
