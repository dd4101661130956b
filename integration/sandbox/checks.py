"""What a save must satisfy: known fields, values of the right type, required fields, real references."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from integration.sandbox.errors import OrgError, no_such_column, not_found
from integration.sandbox.table import Table
from integration.sandbox.values import clean

if TYPE_CHECKING:
    from integration.sandbox.org import Org

_PLATFORM_ONLY = frozenset(
    {"Id", "IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp"}
)


def given_values(org: "Org", table: Table, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cleaned fields of an insert or update. Raises OrgError."""
    result = {}
    for name, value in fields.items():
        field = table.fields.get(name)
        if field is None:
            raise no_such_column(name, table.definition.name)
        if not field.stored or name in _PLATFORM_ONLY:
            raise read_only(name)
        cleaned = clean(field, value)
        if cleaned is not None and field.type == "reference":
            _check_reference(org, name, field.reference_to, cleaned)
        result[name] = cleaned
    return result


def require(table: Table, record: Mapping[str, Any], names: Mapping[str, Any] | None = None) -> None:
    """Raise OrgError if a required field is empty (of those in `names`, if given)."""
    missing = tuple(
        f.name
        for f in table.definition.fields
        if not f.nillable
        and f.createable
        and f.name != "OwnerId"
        and (names is None or f.name in names)
        and record.get(f.name, f.default) is None
    )
    if missing:
        raise OrgError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", missing)


def row_to_change(table: Table, record_id: str) -> None:
    """Raise OrgError unless the record is there and not deleted."""
    row = table.rows.get(record_id)
    if row is None:
        raise not_found()
    if table.is_deleted(row):
        raise OrgError("ENTITY_IS_DELETED", "entity is deleted", status=404)


def read_only(name: str) -> OrgError:
    """A field that only the platform writes."""
    return OrgError(
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        f"Unable to create/update fields: {name}. Please check the security settings of this field and verify "
        "that it is read/write for your profile or permission set.",
        (name,),
    )


def _check_reference(org: "Org", name: str, targets: tuple[str, ...], record_id: str) -> None:
    known = [org.tables[target] for target in targets if target in org.tables]
    if not known or record_id in org.reserved:
        return
    for table in known:
        row = table.rows.get(record_id)
        if row is not None and not table.is_deleted(row):
            return
    raise OrgError("INVALID_CROSS_REFERENCE_KEY", f"invalid cross reference id: {record_id}", (name,))
