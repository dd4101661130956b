"""How the sandbox org describes an object: definitions only, no records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration.sandbox.org import Org

Formula = Callable[[Mapping[str, Any], "Org"], Any]
"""Computes a field from its record (stored fields only) and the org; asked at every reading, never stored."""

SaveHook = Callable[[dict[str, Any], Mapping[str, Any], "Org"], None]
"""Fills what the platform fills when a record is saved: (whole record, fields just given, org)."""

_WORD_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CUSTOM = ("__c", "__s")


@dataclass(frozen=True, slots=True)
class FieldDef:
    """A field. `type` is Salesforce's (`currency`, `picklist`, `reference`, ...).

    label         made from the name when not given
    relationship  of a reference: the name in SOQL paths (`Account` for AccountId); made from the name
    formula       present on a calculated field only
    moves_alone   of a calculated field: its value can change while its record's stamp stays, because it depends on
                  other records or on the date
    roll_up       of a roll-up summary: (child object, the child's reference to this record)
    parts         of a compound (address, location): the names of the fields it is put together from
    compound_of   of such a part: the name of the compound
    hidden        field-level security: not in describe, unknown to SOQL
    """

    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    reference_to: tuple[str, ...] = ()
    relationship: str | None = None
    picklist: tuple[str, ...] = ()
    formula: Formula | None = None
    moves_alone: bool = False
    roll_up: tuple[str, str] | None = None
    parts: tuple[str, ...] = ()
    compound_of: str | None = None
    createable: bool = True
    updateable: bool = True
    nillable: bool = True
    filterable: bool = True
    sortable: bool = True
    custom: bool = False
    hidden: bool = False
    unique: bool = False
    external_id: bool = False
    name_field: bool = False
    default: Any = None

    def __post_init__(self) -> None:
        fill = object.__setattr__  # the only way to complete a frozen instance
        if self.name.endswith(_CUSTOM):
            fill(self, "custom", True)
        if not self.label:
            fill(self, "label", _label(self.name))
        if self.type == "reference" and self.relationship is None:
            fill(self, "relationship", _relationship(self.name))
        if self.type == "boolean" and self.default is None:
            fill(self, "default", False)
        if self.formula is not None or self.parts:
            fill(self, "createable", False)
            fill(self, "updateable", False)

    @property
    def calculated(self) -> bool:
        """True for a formula or a roll-up summary."""
        return self.formula is not None

    @property
    def stored(self) -> bool:
        """True if records keep a value of their own for it: neither a formula nor a compound."""
        return self.formula is None and not self.parts


@dataclass(frozen=True, slots=True)
class ObjectDef:
    """An object.

    key_prefix        the three characters its Ids begin with
    undeletable       a deleted record stays in the recycle bin and can come back
    hard_delete_only  a deleted record is gone at once; only /deleted/ still names it
    cascade           (child object, its reference field) pairs that are deleted with a record
    history           the object that keeps the old values of the fields in `tracked`
    snapshots         the object that keeps a row for each form its fields have had; `history_parent` names the record
    on_save           fills what the platform fills when a record is saved
    """

    name: str
    label: str
    label_plural: str
    key_prefix: str
    fields: tuple[FieldDef, ...]
    custom: bool = False
    undeletable: bool = True
    mergeable: bool = False
    replicateable: bool = True
    hard_delete_only: bool = False
    createable: bool = True
    deletable: bool = True
    cascade: tuple[tuple[str, str], ...] = ()
    history: str | None = None
    snapshots: str | None = None
    history_parent: str | None = None
    tracked: tuple[str, ...] = ()
    on_save: SaveHook | None = None

    def field(self, name: str) -> FieldDef | None:
        """Return the field of that exact API name, or None."""
        return next((f for f in self.fields if f.name == name), None)


def _label(name: str) -> str:
    for suffix in _CUSTOM:
        name = name.removesuffix(suffix)
    if name.endswith("Id") and len(name) > 2:
        name = name[:-2] + " ID"
    return _WORD_BORDER.sub(" ", name).replace("__", " ").replace("_", " ").replace("  ", " ").strip()


def _relationship(name: str) -> str:
    if name.endswith("__c"):
        return name[:-1] + "r"
    return name.removesuffix("Id")
