"""The words of headrace as frozen pydantic models: what travels, and what is stored. No I/O."""

from schemas.capture import Capture, Origin
from schemas.change import Change, FieldChange
from schemas.cursor import Cursor
from schemas.dead_letter import DeadLetter
from schemas.event import Event, EventProperties
from schemas.identity import Identity, IdentityKind
from schemas.product import ProductEvent
from schemas.user import User

__all__ = [
    "Capture",
    "Change",
    "Cursor",
    "DeadLetter",
    "Event",
    "EventProperties",
    "FieldChange",
    "Identity",
    "IdentityKind",
    "Origin",
    "ProductEvent",
    "User",
]
