"""What is known of objects: their schemas, the names given to their fields, and how lookups are flattened in."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog

from integration.core import catalog, cause, naming, project
from integration.core.catalog import ObjectSchema
from integration.core.columns import Column, ColumnType
from integration.core.project import PERSON_OBJECTS
from integration.core.registry import Key, Named, Registry
from integration.store import tables
from integration.store.projection import Lookup, Part, Shape, accounts_view, users_select
from integration.store.protocol import Transaction

log = structlog.get_logger()


class Catalogs:
    """The schemas and the registry of names, kept in memory and in the store.

    `enrich` names for each object the lookup fields to flatten in, `names` the settings' own property names;
    `fetch_schema` asks the stream side for a schema that the store does not know yet.
    """

    def __init__(
        self,
        tx: Transaction,
        enrich: Mapping[str, Sequence[str]],
        names: Mapping[str, Mapping[str, str]],
        fetch_schema: Callable[[str], bytes | None],
    ) -> None:
        self._enrich = enrich
        self._fetch = fetch_schema
        self._schemas: dict[str, ObjectSchema] = {}
        self._newest: dict[str, ObjectSchema] = {}
        self._saved: set[str] = set()
        self._new_names: list[Named] = []
        self._saving: set[str] = set()
        self.registry = Registry(names)
        self.registry.restore(_stored_names(tx))
        for row in tx.rows("SELECT schema_id, body FROM headrace.schemas ORDER BY since"):
            self._add(catalog.from_json(row["body"]))
            self._saved.add(row["schema_id"])
        self._new_names.clear()
        self._refresh()
        self.shape = self._draw()

    def announce(self, schemas: Iterable[ObjectSchema]) -> set[str]:
        """Take in descriptions before any record comes with them; return their ids, for `save`."""
        told = list(schemas)
        for schema in told:
            if schema.schema_id not in self._schemas:
                self._add(schema)
        return {schema.schema_id for schema in told}

    def describes(self, schema_id: str, object_name: str) -> bool:
        """Tell whether this schema is known (after asking for it if need be) and describes this object."""
        known = schema_id in self._schemas or self._learn(schema_id)
        return known and self._schemas[schema_id].object == object_name

    def _learn(self, schema_id: str) -> bool:
        body = self._fetch(schema_id)
        if body is None:
            return False
        try:
            schema = catalog.from_json(body)
        except (ValueError, KeyError, TypeError):
            return False
        if schema.schema_id != schema_id:
            return False
        self._add(schema)
        return True

    def names(self, object_name: str) -> Mapping[str, Named]:
        """Return field -> names of an object's own fields."""
        return self.registry.fields(object_name)

    def raw_columns(self, object_name: str) -> Sequence[Column]:
        """Return the columns of an object's raw table; values lie under the API names."""
        own = [named.raw_column() for named in self.registry.fields(object_name).values()]
        return [*own, Column("is_deleted", ColumnType.BOOLEAN, source="IsDeleted")]

    def save(self, tx: Transaction, used: Collection[str], now: str) -> None:
        """Make the store ready for records read with the `used` schemas: tables, columns, names."""
        fresh = [self._schemas[i] for i in used if i not in self._saved]
        if not fresh:
            return
        self._saving = {s.schema_id for s in fresh}
        for schema in fresh:
            tx.ensure_columns(naming.table_of(schema.object), self.raw_columns(schema.object))
        tx.ensure_columns("users", [*tables.USERS, *project.property_columns(self.registry), *tables.ROLL_UPS])
        self.shape = self._draw()
        tx.ensure_view("accounts", accounts_view(self.shape), own=True)
        defined = users_select(self.shape, "headrace.people", tables.FIXED_OF_USERS)
        tx.ensure_view("headrace.users_defined", defined, own=True)
        for name in sorted({name for schema in fresh for name in cause.event_names(schema.object)}):
            # There from the start, so that a question about what has not happened yet has an answer: nothing.
            tx.ensure_view(naming.view_name(name), tables.event_view(name), own=True)
        known_objects = {self._schemas[i].object for i in self._saved}
        tx.append(
            "headrace.schemas",
            tables.SCHEMAS,
            [{"schema_id": s.schema_id, "object": s.object, "body": catalog.to_json(s), "since": now} for s in fresh],
        )
        first = len(self.registry.entries) - len(self._new_names)
        tx.append(
            "headrace.properties",
            tables.PROPERTIES,
            [_named_row(named, first + place, now) for place, named in enumerate(self._new_names)],
        )
        added = [_log_row(n, now) for n in self._new_names if n.key.object in known_objects]
        tx.append("schema_log", tables.SCHEMA_LOG, added)

    def committed(self) -> None:
        """Note that what `save` wrote is in the store for good."""
        if self._saving:
            self._saved |= self._saving
            self._saving = set()
            self._new_names.clear()

    def _add(self, schema: ObjectSchema) -> None:
        self._schemas[schema.schema_id] = schema
        self._newest[schema.object] = schema
        self._register(schema, None)
        # Own fields first: what a lookup brings in must not take a name that the record's own field would have.
        for looking, target in self._lookups():
            if schema.object in (looking.object, target.object):
                self._register(target, looking.object)
        self._refresh()

    def _register(self, schema: ObjectSchema, prefix_object: str | None) -> None:
        new, warnings = self.registry.register(schema, prefix_object)
        self._new_names += new
        for warning in warnings:
            log.warning("name taken", detail=warning)

    def _lookups(self) -> list[tuple[ObjectSchema, ObjectSchema]]:
        looking_up = [s for name in PERSON_OBJECTS if (s := self._newest.get(name)) is not None]
        return [
            (looking, self._newest[target])
            for looking in looking_up
            for lookup in self._enrich.get(looking.object, ())
            if (field := looking.field(lookup)) is not None
            for target in field.reference_to
            if target in self._newest and target != looking.object
        ]

    def _draw(self) -> Shape:
        """Say what people and accounts can be put together from. Objects only announced have no tables yet."""
        there = {self._schemas[i].object for i in (*self._saved, *self._saving)}
        columns = {name: frozenset(n.column for n in self.registry.fields(name).values()) for name in there}
        return Shape(columns, {name: self._part(name, there) for name in PERSON_OBJECTS if name in there})

    def _part(self, object_name: str, there: Collection[str]) -> Part:
        own = self.registry.fields(object_name)
        lookups = [
            Lookup(own[lookup].column, target, self._shown(object_name, target))
            for lookup in self._enrich.get(object_name, ())
            for target in self.targets.get((object_name, lookup), ())
            if target in there and target != object_name
        ]
        return Part(self._shown(object_name, object_name), lookups)

    def _shown(self, prefix_object: str, object_name: str) -> list[tuple[str, str]]:
        """List the raw columns of an object and the properties they are under this prefix."""
        return [
            (named.column, named.property)
            for key, named in self.registry.entries.items()
            if key.prefix_object == prefix_object and key.object == object_name and key.field != "IsDeleted"
        ]

    def _refresh(self) -> None:
        self.targets: dict[tuple[str, str], Sequence[str]] = {}
        self.looked_up_by: dict[str, list[tuple[str, str]]] = {}
        for object_name, fields in self._enrich.items():
            schema = self._newest.get(object_name)
            for lookup in fields if schema else ():
                field = schema.field(lookup) if schema else None
                self.targets[(object_name, lookup)] = field.reference_to if field else ()
                for target in self.targets[(object_name, lookup)]:
                    self.looked_up_by.setdefault(target, []).append((object_name, lookup))


def _stored_names(tx: Transaction) -> list[Named]:
    rows: list[dict[str, Any]] = tx.rows("SELECT * FROM headrace.properties ORDER BY place")
    return [
        Named(
            Key(r["prefix_object"], r["object"], r["field"], ColumnType(r["type"])),
            r["property"],
            r["column_name"],
            r["precision"],
            r["scale"],
        )
        for r in rows
    ]


def _named_row(named: Named, place: int, now: str) -> dict[str, Any]:
    return {
        "place": place,
        "object": named.key.object,
        "field": named.key.field,
        "prefix_object": named.key.prefix_object,
        "property": named.property,
        "column_name": named.column,
        "type": str(named.key.type),
        "precision": named.precision,
        "scale": named.scale,
        "since": now,
    }


def _log_row(named: Named, now: str) -> dict[str, Any]:
    return {
        "at": now,
        "object": named.key.object,
        "field": named.key.field,
        "column_name": named.column,
        "property": named.property,
        "kind": "added",
        "type": str(named.key.type),
        "note": None,
    }
