"""What the poller hands to the streams: one page of one object, and the cursor that covers it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integration.core.catalog import ObjectSchema
from schemas import Cursor


@dataclass(frozen=True, slots=True)
class Page:
    """One page of captures, published together with its cursor or not at all.

    `captures` are plain dicts in the shape of `schemas.Capture`, in the source's order. `seen` maps record ids to
    the mark (`<stamp>|<content hash>`) by which the next overlap knows them again; `forget` names record ids that
    have left the overlap. `schema` is how the fields are to be read; None when no capture carries fields.
    """

    cursor: Cursor
    captures: Sequence[Mapping[str, Any]] = ()
    seen: Mapping[str, str] = field(default_factory=dict)
    forget: Sequence[str] = ()
    schema: ObjectSchema | None = None
