"""What an org is made of: its objects and fields, and how they change while it lives.

None of these changes moves a stamp or is in the diary.
"""

# ruff: noqa: A002 - `object` is the word of this domain

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from integration.sandbox.errors import invalid_type, no_such_column
from integration.sandbox.fields import of_type
from integration.sandbox.model import FieldDef, ObjectDef
from integration.sandbox.table import Table
from integration.sandbox.values import convert


class Schema:
    """The objects of an org and their tables.

    objects         the definitions of the objects the API user can see
    tables          the rows of all objects, hidden ones included
    schema_version  moves with every change of an object or field
    """

    def __init__(self, objects: Sequence[ObjectDef]) -> None:
        self.lock = threading.RLock()
        self.objects: dict[str, ObjectDef] = {}
        self.tables: dict[str, Table] = {}
        self.schema_version = 0
        self._prefixes: dict[str, list[str]] = {}
        self._hidden: set[tuple[str, str]] = set()
        self._hidden_objects: set[str] = set()
        self._visible: dict[str, dict[str, FieldDef]] = {}
        for definition in objects:
            self.define(definition)

    # --- objects ------------------------------------------------------------------------------------

    def define(self, obj: ObjectDef) -> None:
        """Add an object. Raises ValueError if the org has it already."""
        with self.lock:
            if obj.name in self.tables:
                raise ValueError(f"The org already has an object named {obj.name}.")
            self.tables[obj.name] = Table(obj)
            self._prefixes.setdefault(obj.key_prefix, []).append(obj.name)
            self._schema_changed()

    def hide_object(self, object: str) -> None:
        """Take an object away from the API user: describe says NOT_FOUND, SOQL INVALID_TYPE. Records stay."""
        with self.lock:
            self.table(object)
            self._hidden_objects.add(object)
            self._schema_changed()

    def show_object(self, object: str) -> None:
        """Give a hidden object back."""
        with self.lock:
            self.table(object)
            self._hidden_objects.discard(object)
            self._schema_changed()

    def table(self, object: str) -> Table:
        """Return the rows of an object, hidden or not. Raises OrgError INVALID_TYPE."""
        try:
            return self.tables[object]
        except KeyError:
            raise invalid_type(object) from None

    # --- fields -------------------------------------------------------------------------------------

    def hide_field(self, object: str, field: str) -> None:
        """Take the field away from the API user: absent from describe, unknown to SOQL."""
        with self.lock:
            self._existing_field(object, field)
            self._hidden.add((object, field))
            self._schema_changed()

    def show_field(self, object: str, field: str) -> None:
        """Give a hidden field back."""
        with self.lock:
            self._existing_field(object, field)
            self._hidden.discard((object, field))
            self._schema_changed()

    def add_field(self, object: str, field: FieldDef) -> None:
        """Add a field; every record has null (false for a checkbox, or its default). No stamp moves."""
        with self.lock:
            definition = self.table(object).definition
            if definition.field(field.name) is not None:
                raise ValueError(f"{object} already has a field named {field.name}.")
            self.redefine(replace(definition, fields=(*definition.fields, field)))

    def remove_field(self, object: str, field: str) -> None:
        """Remove a custom field with its values. Raises ValueError for a standard one."""
        with self.lock:
            self._custom_field(object, field, "removed")
            definition = self.table(object).definition
            self._hidden.discard((object, field))
            self.redefine(
                replace(
                    definition,
                    fields=tuple(f for f in definition.fields if f.name != field),
                    tracked=tuple(name for name in definition.tracked if name != field),
                )
            )

    def retype_field(self, object: str, field: str, type: str, **more: Any) -> None:
        """Give a custom field another type. Values that fit are converted, the others become null.

        more  what else the new field shall have (`length`, `scale`, `picklist`, ... of FieldDef)

        Raises ValueError for a standard field, a calculated or compound one, and for a part of a compound.
        """
        with self.lock:
            old = self._custom_field(object, field, "retyped")
            if not old.stored or old.compound_of:
                raise ValueError(f"{field} of {object} is calculated or compound; only plain fields can be retyped.")
            new = of_type(field, type, **({"label": old.label, "hidden": old.hidden} | more))
            self._replace_field(object, new)
            self.tables[object].rewrite(field, lambda value: convert(new, value))

    def relabel_field(self, object: str, field: str, label: str) -> None:
        """Give a field another label; its API name stays."""
        with self.lock:
            self._replace_field(object, replace(self._existing_field(object, field), label=label))

    def set_picklist(self, object: str, field: str, values: Sequence[str]) -> None:
        """Replace the values to choose from. Records keep what they have, as in a picklist that is not restricted.

        Raises ValueError if the field is no picklist.
        """
        with self.lock:
            old = self._existing_field(object, field)
            if old.type not in ("picklist", "multipicklist", "combobox"):
                raise ValueError(f"{field} of {object} is no picklist but of type {old.type}.")
            self._replace_field(object, replace(old, picklist=tuple(values)))

    def redefine(self, definition: ObjectDef) -> None:
        """Replace the definition of an object; values of fields that stay are kept, new ones get their default."""
        with self.lock:
            self.tables[definition.name].redefine(definition)
            self._schema_changed()

    def visible_fields(self, object: str) -> tuple[FieldDef, ...]:
        """Return the fields the API user can see, in describe's order."""
        with self.lock:
            if object not in self._visible:
                fields = self.table(object).definition.fields
                shown = (f for f in fields if not f.hidden and (object, f.name) not in self._hidden)
                self._visible[object] = {f.name.lower(): f for f in shown}
            return tuple(self._visible[object].values())

    def visible_field(self, object: str, name: str) -> FieldDef | None:
        """Return a field the API user can see, by its name in any spelling of upper and lower case, or None."""
        with self.lock:
            self.visible_fields(object)
            return self._visible[object].get(name.lower())

    # --- inside -------------------------------------------------------------------------------------

    def _existing_field(self, object: str, field: str) -> FieldDef:
        found = self.table(object).definition.field(field)
        if found is None:
            raise no_such_column(field, object)
        return found

    def _custom_field(self, object: str, field: str, done: str) -> FieldDef:
        found = self._existing_field(object, field)
        if not found.custom:
            raise ValueError(f"{field} is a standard field of {object}; only custom fields can be {done}.")
        return found

    def _replace_field(self, object: str, field: FieldDef) -> None:
        definition = self.table(object).definition
        fields = tuple(field if f.name == field.name else f for f in definition.fields)
        self.redefine(replace(definition, fields=fields))

    def _schema_changed(self) -> None:
        self.schema_version += 1
        self._visible.clear()
        # A new dict, as somebody may be reading the old one.
        shown = (table.definition for name, table in self.tables.items() if name not in self._hidden_objects)
        self.objects = {definition.name: definition for definition in shown}
