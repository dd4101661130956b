"""What is known of objects: their schemas, the names given to their fields, and how lookups are flattened in."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from consumers.traits import Traits
from integration.core import catalog, cause, exactjson, history, naming, project, values
from integration.core.catalog import Field, ObjectSchema
from integration.core.columns import Column, ColumnType
from integration.core.image import Image
from integration.core.project import PERSON_OBJECTS
from integration.core.registry import Key, Named, Registry
from integration.core.schema_changes import Kind, SchemaChange, last_described, schema_changes
from integration.store import tables
from integration.store.arrow import misfits
from integration.store.past import UNTOLD
from integration.store.projection import Kept, Lookup, Part, Shape, users_select
from integration.store.protocol import Transaction

log = structlog.get_logger()

_CURRENT = "schema:"
_RETIRED = "name:"
_MODIFIED = "SystemModstamp"


class Catalogs:
    """The schemas and the registry of names, kept in memory and in the store.

    `enrich` names for each object the lookup fields to flatten in, `names` the settings' own property names;
    `fetch_schema` asks the stream side for a schema that the store does not know yet; `excluded` says of (object,
    field) whether the settings leave it out.
    """

    def __init__(
        self,
        tx: Transaction,
        enrich: Mapping[str, Sequence[str]],
        names: Mapping[str, Mapping[str, str]],
        fetch_schema: Callable[[str], bytes | None],
        excluded: Callable[[str, str], bool] = lambda _object, _field: False,
    ) -> None:
        self._enrich = enrich
        self._fetch = fetch_schema
        self._excluded = excluded
        self._schemas: dict[str, ObjectSchema] = {}
        self._newest: dict[str, ObjectSchema] = {}
        self._fields: dict[str, dict[str, Field]] = {}
        self._announced: set[str] = set()
        self._saved: set[str] = set()
        self._new_names: list[Named] = []
        self._renames: list[tuple[Named, Named]] = []
        self._left_out: dict[str, frozenset[str]] = {}
        self._is_drawn = False
        """Whether the store's views are those of these settings: an earlier run may have had others."""
        self._saving: set[str] = set()
        self._turning: dict[str, str] = {}
        self.registry = Registry(names)
        self.registry.restore(_stored_names(tx), _stored_retired(tx))
        self.traits = Traits(tx, self.registry, excluded)
        for row in tx.rows("SELECT schema_id, body FROM headrace.schemas ORDER BY since"):
            self._add(catalog.from_json(row["body"]))
            self._saved.add(row["schema_id"])
        self._current = {name: schema.schema_id for name, schema in self._newest.items()} | _stored_current(tx)
        """Object -> the id of the schema it has in the store: the last one that was announced."""
        for schema_id in self._current.values():
            self._turn(self._schemas[schema_id])
        self._refresh()
        self.shape = self._draw()

    def announce(self, schemas: Iterable[ObjectSchema]) -> None:
        """Take in what Salesforce says now of these objects, whether or not a record comes with it; then `save`."""
        for schema in schemas:
            self._announced.add(schema.object)
            if schema.schema_id not in self._schemas:
                self._add(schema)
            self._turn(schema)

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
        newest = self._newest.get(schema.object)
        self._add(schema)
        if newest is not None and schema.object in self._announced:
            self._turn(newest)  # what a capture brings of an announced object is what it was, not what it is
        return True

    def names(self, object_name: str) -> Mapping[str, Named]:
        """Return field -> names of an object's own fields."""
        return self.registry.fields(object_name)

    def names_as_read(self, one: Image) -> Mapping[str, Named]:
        """Return the names for an image that is not new: those of the types that its fields had when it was read."""
        own = self.registry.fields(one.object)
        schema = self._schemas.get(one.schema_id)
        if schema is None or one.object not in self._older:
            return own
        keys = (Key(one.object, one.object, f.name, values.column_type(f)) for f in schema.fields)
        return {**own, **{key.field: self.registry.entries[key] for key in keys if key in self.registry.entries}}

    def left_out(self, one: Image) -> frozenset[str]:
        """Return the fields of an image that the settings leave out by now; those that reading depends on stay."""
        found = self._left_out.get(one.schema_id)
        if found is not None:
            return found
        schema = self._schemas.get(one.schema_id)
        if schema is None:
            return frozenset()
        always = {"Id", "IsDeleted", "CreatedDate", schema.cursor_field}
        named = (f.name for f in schema.fields if f.name not in always and self._excluded(one.object, f.name))
        found = self._left_out[one.schema_id] = frozenset(named)
        return found

    def rename(self) -> bool:
        """Give the properties the names that the settings want by now; then `save`. False when all have them."""
        renamed, warnings = self.registry.rename()
        for warning in warnings:
            log.warning("name taken", detail=warning)
        self._renames += renamed
        self._refresh()
        return bool(self._renames)

    def present_name(self, object_name: str, field: str, given: str | None) -> str | None:
        """Return what a property of an object's own field is called by now, if it was renamed since it was told."""
        key = self.registry.retired.get(given or "")
        named = (
            self.registry.entries.get(key) if key is not None and key[:3] == (object_name, object_name, field) else None
        )
        return named.property if named is not None else given

    def without_place(self) -> list[str]:
        """List the columns of `users` that are no part of a person any more: names that were retired, and what only a
        lookup brought that the settings name no more."""
        parts = self.shape.parts.values()
        shown = {name for part in parts for _, name in part.properties}
        shown |= {name for part in parts for lookup in part.lookups for _, name in lookup.properties}
        given = {c.name for c in project.property_columns(self.registry)}
        retired = {
            name
            for name, key in self.registry.retired.items()
            if key.prefix_object in PERSON_OBJECTS and key.field != "IsDeleted"
        }
        return sorted((given | retired) - shown)

    def lookups(self, object_name: str) -> Collection[str]:
        """Return the fields of an object that hold ids of other records, as last described."""
        return {name for name, field in self._fields.get(object_name, {}).items() if field.type == "reference"}

    def raw_columns(self, object_name: str) -> Sequence[Column]:
        """Return the columns of an object's raw table, for the values of `raw_row`."""
        own = [named.raw_column() for named in self.registry.fields(object_name).values()]
        older = [replace(named.raw_column(), source=_older(named)) for named in self._older.get(object_name, ())]
        return [*own, *older, Column("is_deleted", ColumnType.BOOLEAN, source="IsDeleted")]

    def raw_row(self, one: Image) -> Mapping[str, Any]:
        """Return a record's values under its fields' API names; a value whose field has got another type since it
        was read goes into the column of the type it was read with.

        IsDeleted and SystemModstamp are the image's, which a delete that only the delete log tells of has moved on.
        """
        fields = one.fields
        if one.object in self._older:
            fields = self._as_read(one)
        if fields.get("IsDeleted") != one.is_deleted:
            fields = {**fields, "IsDeleted": one.is_deleted}
        if _MODIFIED in self.registry.fields(one.object):
            stamp = fields.get(_MODIFIED)
            if stamp is None or (isinstance(stamp, str) and values.stamp(stamp) < one.version):
                fields = {**fields, _MODIFIED: one.version}
        return fields

    def _as_read(self, one: Image) -> Mapping[str, Any]:
        schema, fields = self._schemas.get(one.schema_id), dict(one.fields)
        for named in self._older[one.object]:
            described = schema.field(named.key.field) if schema else None
            if described is not None:
                is_of_it = values.column_type(described) is named.key.type
            else:
                is_of_it = self._fits_better(named, fields.get(named.key.field))
            if is_of_it:
                fields[_older(named)] = fields.pop(named.key.field, None)
        return fields

    def _fits_better(self, older: Named, value: Any) -> bool:
        """Tell whether a last value, of a field that was hidden when its record was read, belongs in the older column:
        the field may have got another type while it was hidden."""
        name = older.key.field
        own = self.registry.fields(older.key.object).get(name)
        if value is None or own is None:
            return False
        new, old = own.raw_column(), older.raw_column()
        return bool(misfits([new], {new.source: value})) and not misfits([old], {old.source: value})

    def save(self, tx: Transaction, now: str) -> None:
        """Make the store ready for whatever is known but not saved yet: tables, columns, names; log what changed."""
        if self._saving or self._turning or self.traits.is_pending:  # by a transaction that failed
            self._saving, self._turning = set(), {}
            self.traits.forget()
            self.shape = self._draw()
        fresh = [s for i, s in self._schemas.items() if i not in self._saved]
        turned = self._turned(fresh)
        if self._is_drawn and not (fresh or turned or self._new_names or self._renames):
            return
        self._saving = {s.schema_id for s in fresh}
        for schema in fresh:
            tx.ensure_columns(naming.table_of(schema.object), self.raw_columns(schema.object))
        self._lay_out_people(tx)
        told = (schema.object for schema in fresh if history.parent_of(schema.object) is None)
        for name in sorted({name for object_name in told for name in cause.event_names(object_name)}):
            # There from the start, so that a question about what has not happened yet has an answer: nothing.
            tx.ensure_view(naming.view_name(name), tables.event_view(name), own=True)
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
        self._save_renames(tx, now)
        self._save_turns(tx, turned, now)

    def learn(self, tx: Transaction, told: Iterable[Mapping[str, Any]], now: str) -> None:
        """Give columns to traits (name -> value) that have none yet; to be called after `save`."""
        if self.traits.learn(told):
            self.traits.save(tx, now)
            self._lay_out_people(tx)

    def people_columns(self) -> list[Column]:
        """List the columns of `users`."""
        properties = project.property_columns(self.registry)
        return [*tables.USERS, *properties, *tables.ROLL_UPS, *self.traits.columns]

    def _lay_out_people(self, tx: Transaction) -> None:
        tx.ensure_columns("headrace.traits", self.traits.table)
        tx.ensure_columns("users", self.people_columns())
        self.shape = self._draw()
        for name, view in tables.OF_THE_ORG.items():
            tx.ensure_view(name, view(self.shape), own=True)
        defined = users_select(self.shape, "headrace.people", tables.FIXED_OF_USERS)
        tx.ensure_view("headrace.users_defined", defined, own=True)

    def committed(self) -> None:
        """Note that what `save` and `learn` wrote is in the store for good."""
        self.traits.committed()
        self._is_drawn = True
        self._new_names.clear()
        self._renames.clear()
        if self._saving:
            self._saved |= self._saving
            self._saving = set()
        if self._turning:
            self._current |= self._turning
            self._turning = {}

    def _turned(self, fresh: Sequence[ObjectSchema]) -> list[ObjectSchema]:
        """List the schemas that objects have now and had not when last saved: as announced; of objects that nobody
        announces here, as first seen with a record."""
        announced = [s for name in self._announced if (s := self._newest[name]).schema_id != self._current.get(name)]
        return [*sorted(announced, key=lambda s: s.object), *(s for s in fresh if s.object not in self._announced)]

    def _save_turns(self, tx: Transaction, turned: Sequence[ObjectSchema], now: str) -> None:
        rows, current = [], dict(self._current)
        for schema in turned:
            earlier = [s for i, s in self._schemas.items() if s.object == schema.object and self._was_there(i)]
            changes = schema_changes(
                self._schemas.get(current.get(schema.object, "")),
                schema,
                known=last_described(earlier),
                excluded=self._excluded,
            )
            names = self.names(schema.object)
            rows += [_log_row(change, names.get(change.field or ""), now) for change in changes]
            current[schema.object] = self._turning[schema.object] = schema.schema_id
        tx.append("schema_log", tables.SCHEMA_LOG, rows)
        meta = [{"key": f"{_CURRENT}{name}", "value": schema_id} for name, schema_id in self._turning.items()]
        tx.upsert("headrace.meta", ("key",), tables.META, meta)

    def _save_renames(self, tx: Transaction, now: str) -> None:
        if not self._renames:
            return
        places = {key: place for place, key in enumerate(self.registry.entries)}
        given = [_named_row(new, places[new.key], now) for _, new in self._renames]
        tx.upsert("headrace.properties", ("prefix_object", "object", "field", "type"), tables.PROPERTIES, given)
        again = [f"{_RETIRED}{new.property}" for _, new in self._renames]
        tx.delete("headrace.meta", "key", again)
        retired = [
            {"key": f"{_RETIRED}{name}", "value": exactjson.dumps([*key]).decode()}
            for name, key in self.registry.retired.items()
        ]
        tx.upsert("headrace.meta", ("key",), tables.META, retired)
        changes = [
            _log_row(SchemaChange(new.key.object, new.key.field, Kind.RENAMED, f"was {old.property}"), new, now)
            for old, new in self._renames
        ]
        tx.append("schema_log", tables.SCHEMA_LOG, changes)

    def _was_there(self, schema_id: str) -> bool:
        return schema_id in self._saved or schema_id in self._turning.values()

    def _add(self, schema: ObjectSchema) -> None:
        self._schemas[schema.schema_id] = schema
        self._turn(schema)

    def _turn(self, schema: ObjectSchema) -> None:
        """Let this be what its object looks like: new fields get names, changed ones go by the names of their types."""
        newest = self._newest.get(schema.object)
        if newest is not None and newest.schema_id == schema.schema_id:
            return
        self._newest[schema.object] = schema
        self._fields.setdefault(schema.object, {}).update(last_described([schema]))
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
            if (field := self._fields[looking.object].get(lookup)) is not None
            for target in field.reference_to
            if target in self._newest and target != looking.object
        ]

    def _draw(self) -> Shape:
        """Say what people and accounts can be put together from. Objects only announced have no tables yet."""
        there = {self._schemas[i].object for i in (*self._saved, *self._saving)}
        columns = {name: frozenset(n.column for n in self.registry.fields(name).values()) for name in there}
        places = {key: place for place, key in enumerate(self.registry.entries)}
        kept = {
            name: [
                Kept(places[named.key], named.column, named.key.type)
                for field, named in self.registry.fields(name).items()
                if field not in UNTOLD
            ]
            for name in sorted(there)
            if history.parent_of(name) is None
        }
        parts = {name: self._part(name, there) for name in PERSON_OBJECTS if name in there}
        return Shape(columns, parts, [column.name for column in self.traits.columns], kept)

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
        for object_name, lookups in self._enrich.items():
            # As last described: a lookup that is not shown any more still holds, and points where it pointed.
            fields = self._fields.get(object_name, {})
            for lookup in lookups if fields else ():
                field = fields.get(lookup)
                self.targets[(object_name, lookup)] = field.reference_to if field else ()
                for target in self.targets[(object_name, lookup)]:
                    self.looked_up_by.setdefault(target, []).append((object_name, lookup))
        self._older: dict[str, list[Named]] = {}
        for key, named in self.registry.entries.items():
            if key.prefix_object == key.object and self.names(key.object)[key.field] is not named:
                self._older.setdefault(key.object, []).append(named)


def _older(named: Named) -> str:
    """Name the value of a field that was read when the field had this type (no API name has a space)."""
    return f"{named.key.field} {named.key.type}"


def _stored_current(tx: Transaction) -> dict[str, str]:
    rows = tx.rows("SELECT key, value FROM headrace.meta WHERE key LIKE ?", [f"{_CURRENT}%"])
    return {row["key"].removeprefix(_CURRENT): row["value"] for row in rows}


def _stored_names(tx: Transaction) -> list[Named]:
    rows: list[dict[str, Any]] = tx.rows("SELECT * FROM headrace.properties WHERE object <> 'product' ORDER BY place")
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


def _stored_retired(tx: Transaction) -> dict[str, Key]:
    rows = tx.rows("SELECT key, value FROM headrace.meta WHERE key LIKE ?", [f"{_RETIRED}%"])
    parts = {row["key"].removeprefix(_RETIRED): exactjson.loads(row["value"]) for row in rows}
    return {name: Key(key[0], key[1], key[2], ColumnType(key[3])) for name, key in parts.items()}


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


def _log_row(change: SchemaChange, named: Named | None, now: str) -> dict[str, Any]:
    return {
        "at": now,
        "object": change.object,
        "field": change.field,
        "column_name": named.column if named else None,
        "property": named.property if named and change.field != "IsDeleted" else None,
        "kind": str(change.kind),
        "type": str(named.key.type) if named else None,
        "note": change.note,
    }
