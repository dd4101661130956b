"""From rows to the JSON records of a query's answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from integration.sandbox.errors import OrgError, no_such_column_text
from integration.sandbox.evaluate import Column
from integration.sandbox.model import FieldDef
from integration.sandbox.soql import Name, located
from integration.sandbox.table import Row, Table
from integration.sandbox.views import Getter

if TYPE_CHECKING:
    from integration.sandbox.org import Org

Build = Callable[[Row], dict[str, Any]]

# What can be asked through a polymorphic lookup (Who, What): the fields of the object called Name.
_NAME_FIELDS = ("Id", "Name", "Type", "FirstName", "LastName", "Email", "Title", "Phone", "Username", "IsActive")


class Resolver:
    """Finds the columns of one object by name, in any spelling of upper and lower case."""

    def __init__(self, org: "Org", entity: str, text: str = "") -> None:
        self._org = org
        self._text = text
        self.entity = entity
        self._known: dict[tuple[str, ...], Column] = {}

    def __call__(self, name: Name) -> Column:
        """Return the column. Raises OrgError INVALID_FIELD."""
        if name.path not in self._known:
            path = name.path
            if len(path) > 1 and path[0].lower() == self.entity.lower():
                path = path[1:]  # `SELECT Account.Id FROM Account`
            self._known[name.path] = self._column(self.entity, path, name.start)
        return self._known[name.path]

    def field(self, entity: str, name: str, start: int = 0) -> FieldDef:
        """Return a visible field of an object. Raises OrgError INVALID_FIELD."""
        found = self._org.visible_field(entity, name)
        if found is None:
            raise self._unknown(no_such_column_text(name, entity), start)
        return found

    def lookup(self, entity: str, relationship: str, start: int) -> FieldDef:
        """Return the visible reference field behind a relationship name. Raises OrgError INVALID_FIELD."""
        for candidate in self._org.visible_fields(entity):
            named = candidate.relationship and candidate.relationship.lower() == relationship.lower()
            if named and (len(candidate.reference_to) > 1 or candidate.reference_to[0] in self._org.objects):
                return candidate
        message = f"Didn't understand relationship '{relationship}' in field path. If you are attempting to use a "
        message += "custom relationship, be sure to append the '__r' after the custom relationship name. Please "
        raise self._unknown(message + "reference your WSDL or the describe call for the appropriate names.", start)

    def _column(self, entity: str, path: tuple[str, ...], start: int) -> Column:
        org = self._org
        if len(path) == 1:
            found = self.field(entity, path[0], start)
            filterable, sortable = found.filterable and not found.parts, found.sortable and not found.parts
            return Column((found.name,), found.type, org.getter(entity, found), filterable, sortable)
        link = self.lookup(entity, path[0], start)
        through = org.getter(entity, link)
        if len(link.reference_to) > 1:
            return self._of_anything(link, through, path, start)
        inner = self._column(link.reference_to[0], path[1:], start)
        target, read = org.tables[link.reference_to[0]], inner.get

        def get(row: Row) -> Any:
            parent = target.rows.get(through(row) or "")
            return None if parent is None else read(parent)

        return Column((str(link.relationship), *inner.path), inner.type, get, inner.filterable, inner.sortable)

    def _of_anything(self, link: FieldDef, through: Getter, path: tuple[str, ...], start: int) -> Column:
        name = next((n for n in _NAME_FIELDS if n.lower() == path[1].lower()), None)
        if len(path) > 2 or name is None:
            raise self._unknown(no_such_column_text(path[1], "Name"), start)
        org = self._org

        def get(row: Row) -> Any:
            key = through(row)
            target = org.object_of(key) if key else None
            if target is None or name in ("Id", "Type"):
                return key if name == "Id" else target
            return org.value(target, key, name)

        kind = "boolean" if name == "IsActive" else "id" if name == "Id" else "string"
        return Column((str(link.relationship), name), kind, get)

    def _unknown(self, message: str, start: int) -> OrgError:
        return OrgError("INVALID_FIELD", located(self._text, start, message) if self._text else message)


@dataclass(frozen=True, slots=True)
class Result:
    """All answers of a query: rows to be built into records, or ready records of an aggregate query."""

    rows: list[Row]
    build: Build | None
    total: int

    def page(self, start: int, size: int) -> list[dict[str, Any]]:
        """Build the records from `start` on, at most `size` of them."""
        part: list[Any] = self.rows[start : start + size]
        return part if self.build is None else [self.build(row) for row in part]


@dataclass(slots=True)
class _Node:
    """The columns selected from one object, and those of its parents."""

    columns: list[Column] = field(default_factory=list)
    parents: dict[str, "_Node"] = field(default_factory=dict)


def builder(org: "Org", resolver: Resolver, columns: Sequence[Column], version: str) -> Build:
    """Return a function from a row to its JSON record, `attributes` included."""
    root = _Node()
    for column in columns:
        node = root
        for step in column.path[:-1]:
            node = node.parents.setdefault(step, _Node())
        node.columns.append(column)
    return _build(org, resolver, resolver.entity, root, version)


def _build(org: "Org", resolver: Resolver, entity: str, node: _Node, version: str) -> Build:
    table = org.tables[entity]
    names, fetch, computed = _plan(org, resolver, table, node)
    parents = [(step, _parent(org, resolver, entity, step, below, version)) for step, below in node.parents.items()]
    prefix = f"/services/data/{version}/sobjects/{entity}/"

    def build(row: Row) -> dict[str, Any]:
        record: dict[str, Any] = {"attributes": {"type": entity, "url": prefix + row[0]}}
        record.update(zip(names, fetch(row)))  # noqa: B905 - the hot spot of every page; fetch brings two Ids more
        for name, get in computed:
            record[name] = get(row)
        for step, read in parents:
            record[step] = read(row)
        return record

    return build


def _plan(
    org: "Org", resolver: Resolver, table: Table, node: _Node
) -> tuple[tuple[str, ...], Callable[[Row], tuple[Any, ...]], list[tuple[str, Getter]]]:
    """How to read the object's own columns: all at once for the stored ones, one by one for the others."""
    entity = table.definition.name
    own = [resolver.field(entity, column.path[-1]) for column in node.columns]
    names = tuple(f.name for f in own)
    # Id stands in for computed columns, which thereby keep their places, and makes sure that there are two
    # columns at least: an itemgetter of one gives no tuple.
    fetch = itemgetter(*[table.at.get(name, 0) for name in names], 0, 0)
    return names, fetch, [(f.name, org.getter(entity, f)) for f in own if not f.stored]


def _parent(
    org: "Org", resolver: Resolver, entity: str, step: str, below: _Node, version: str
) -> Callable[[Row], dict[str, Any] | None]:
    link = resolver.lookup(entity, step, 0)
    through = org.getter(entity, link)
    if len(link.reference_to) > 1:
        return _anything(org, through, below.columns, version)
    target = org.tables[link.reference_to[0]]
    build = _build(org, resolver, link.reference_to[0], below, version)

    def read(row: Row) -> dict[str, Any] | None:
        parent = target.rows.get(through(row) or "")
        return None if parent is None else build(parent)

    return read


def _anything(
    org: "Org", through: Getter, columns: list[Column], version: str
) -> Callable[[Row], dict[str, Any] | None]:
    def read(row: Row) -> dict[str, Any] | None:
        key = through(row)
        target = org.object_of(key) if key else None
        if target is None:
            return None
        link = {"type": "Name", "url": f"/services/data/{version}/sobjects/{target}/{key}"}
        return {"attributes": link, **{column.path[-1]: column.get(row) for column in columns}}

    return read
