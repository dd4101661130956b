"""The registry of names: which property and which raw column a field has.

A name, once given, is never given to another field, and changes only when the settings change it and somebody asks
for it (`rename`). Names are given in the order in which fields are first seen; a name that is taken gets a number, a
field whose type changes gets its name plus the type.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from integration.core import naming, values
from integration.core.catalog import Field, ObjectSchema
from integration.core.columns import Column, ColumnType

# Roll-ups of a person's opportunities (see project.roll_up): no field may take their names.
RESERVED = frozenset(
    f"sfdc_opportunity_{part}" for part in ("count", "open_count", "open_amount", "won_count", "won_amount")
)


class Key(NamedTuple):
    """A field of an object as one prefix sees it: prefix and object differ for looked-up records."""

    prefix_object: str
    object: str
    field: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Named:
    """The names given to a field, and the column to store it in."""

    key: Key
    property: str
    column: str
    precision: int
    scale: int

    def property_column(self) -> Column:
        """Return the column of the property; its value is found under the property's name."""
        return Column(self.property, self.key.type, self.precision, self.scale)

    def raw_column(self) -> Column:
        """Return the column of the raw table; its value is found under the field's API name."""
        return Column(self.column, self.key.type, self.precision, self.scale, source=self.key.field)


@dataclass(slots=True)
class Registry:
    """All names given so far. `register` adds; nothing removes. The order of the entries is that of their giving."""

    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Per object: field -> property, as the settings name them (`objects.<Name>.names`)."""
    entries: dict[Key, Named] = field(default_factory=dict)
    retired: dict[str, Key] = field(default_factory=dict)
    """Properties that fields had once and have no more: still nobody else's."""
    _owners: dict[str, Key | None] = field(default_factory=lambda: dict.fromkeys(RESERVED))
    _columns: dict[str, set[str]] = field(default_factory=dict)
    _by_object: dict[tuple[str, str], dict[str, Named]] = field(default_factory=dict)

    def restore(self, named: Iterable[Named], retired: Mapping[str, Key] | None = None) -> None:
        """Take in what a store remembers, in the order in which it was given."""
        for entry in named:
            self._take(entry)
        self.retired = dict(retired or {})
        self._owners |= self.retired

    def reserve(self, name: str) -> bool:
        """Keep a name from ever being given to a field; False when a field has or had it."""
        return self._owners.setdefault(name, None) is None

    def rename(self) -> tuple[list[tuple[Named, Named]], list[str]]:
        """Give the properties the names that the settings want by now; return (old, new), and warnings as `register`.

        The old name is retired: its field may have it again, no other ever.
        """
        renamed: list[tuple[Named, Named]] = []
        warnings: list[str] = []
        first: set[tuple[str, str, str]] = set()
        for key, named in list(self.entries.items()):
            retyped = key[:3] in first
            first.add(key[:3])
            given, warning = self._free_property(key, retyped=retyped)
            if given == named.property:
                continue
            new = replace(named, property=given)
            self.retired[named.property] = key
            self.retired.pop(given, None)
            is_newest = self.fields(key.object, key.prefix_object).get(key.field) is named
            self.entries[key] = new
            self._owners[given] = key
            if is_newest:
                self._by_object[(key.prefix_object, key.object)][key.field] = new
            renamed.append((named, new))
            if warning:
                warnings.append(warning)
        return renamed, warnings

    def register(self, schema: ObjectSchema, prefix_object: str | None = None) -> tuple[list[Named], list[str]]:
        """Give names to the fields of an object, its own or (with `prefix_object`) as a lookup flattens them.

        The newest names of its fields are from now on those of the types it shows, which may be types they had before.
        Returns what is new, and a warning for each name that was taken.
        """
        prefix = prefix_object or schema.object
        new, warnings = [], []
        for described in schema.fields:
            key = Key(prefix, schema.object, described.name, values.column_type(described))
            if key in self.entries:
                self._by_object[(prefix, schema.object)][described.name] = self.entries[key]
                continue
            named, warning = self._name(key, described)
            self._take(named)
            new.append(named)
            if warning:
                warnings.append(warning)
        return new, warnings

    def fields(self, object_name: str, prefix_object: str | None = None) -> dict[str, Named]:
        """Return field -> its newest names, for one object as one prefix sees it."""
        return self._by_object.get((prefix_object or object_name, object_name), {})

    def _take(self, named: Named) -> None:
        key = named.key
        self.entries[key] = named
        self._owners[named.property] = key
        self._columns.setdefault(key.object, set()).add(named.column)
        self._by_object.setdefault((key.prefix_object, key.object), {})[key.field] = named

    def _name(self, key: Key, described: Field) -> tuple[Named, str | None]:
        retyped = key.field in self.fields(key.object, key.prefix_object)
        given, warning = self._free_property(key, retyped=retyped)
        column = naming.column_name(key.field)
        if key.prefix_object != key.object:
            raw = self.entries.get(key._replace(prefix_object=key.object))
            column = raw.column if raw else column
        elif retyped:
            column = _free(f"{column}_{key.type}", self._columns.get(key.object, set()).__contains__)
        shape = values.column(described, column)
        return Named(key, given, column, shape.precision, shape.scale), warning

    def _free_property(self, key: Key, *, retyped: bool) -> tuple[str, str | None]:
        """Return the property that the field wants, or the next one that nobody else has or had, and a warning then."""
        wanted = self._wanted(key)
        if retyped:
            wanted = f"{wanted}_{key.type}"
        given = _free(wanted, lambda name: name in self._owners and self._owners[name] != key)
        if given == wanted:
            return given, None
        return given, f"The property {wanted} is taken, so {key.object}.{key.field} is called {given}."

    def _wanted(self, key: Key) -> str:
        chosen = self.overrides.get(key.object, {}).get(key.field)
        if chosen is None:
            return naming.property_name(key.prefix_object, key.object, key.field)
        full = chosen if chosen.startswith("sfdc_") else f"sfdc_{naming.snake(key.prefix_object)}_{chosen}"
        # A whole name given to a field that several objects look up can belong to one of them only.
        own = f"sfdc_{naming.snake(key.prefix_object)}_"
        if key.prefix_object != key.object and not full.startswith(own):
            return naming.property_name(key.prefix_object, key.object, key.field)
        return full


def _free(wanted: str, is_taken: Callable[[str], bool]) -> str:
    if not is_taken(wanted):
        return wanted
    number = 2
    while is_taken(f"{wanted}_{number}"):
        number += 1
    return f"{wanted}_{number}"
