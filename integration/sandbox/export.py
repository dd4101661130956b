"""Loading a folder of CSV exports into an org.

A file is named after its object (``Account.csv``); its first line names the fields. Three dialects of the same
data are in use and all are read, cell by cell:

=============  =======================  =================================  ==========================
               query tools              Data Export Service                data loaders, spreadsheets
=============  =======================  =================================  ==========================
true, false    ``1`` and empty          ``1`` and ``0``                    ``true`` and ``false``
datetime       ``...T09:42:24.000+0000``  ``2024-01-19 09:42:24`` (UTC)    ``...T09:42:24.000Z``
no reference   empty                    ``000000000000000AAA``             empty
=============  =======================  =================================  ==========================

Empty is null (false for a checkbox), ids of 15 characters become 18, line breaks inside quotes stay, a BOM is
skipped. Compound columns (``BillingAddress`` as JSON) are only read where their parts have no column of their
own. Columns of calculated fields are skipped: the org computes those; so are columns of other records
(``Owner.Name``). Names of files and columns may be in any case. Objects and columns the org does not know are
added to it, with types guessed as ``guess.py`` says. Users that records point to and that are not in the
export get an invented name.
"""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from integration.sandbox import names
from integration.sandbox.clock import from_stamp, stamp
from integration.sandbox.errors import OrgError
from integration.sandbox.fields import audit, ids
from integration.sandbox.guess import ADDRESS_KEYS, NULL_REFERENCES, guess_field, is_address
from integration.sandbox.ids import is_id, to18
from integration.sandbox.model import FieldDef, ObjectDef
from integration.sandbox.org import Org

_TRUE = frozenset({"1", "true", "yes"})
_FALSE = frozenset({"0", "false", "no"})
_FIELD_NAME = re.compile(r"[A-Za-z]\w*(\.\w+)*", re.ASCII)
_SYSTEM_FIELDS = (*ids(), *audit())
_SURE_PREFIXES = {"500": "Case", "07k": "AccountContactRelation"}


@dataclass(frozen=True)
class Sheet:
    """One CSV file: the object's API name, the names of its columns, and the rows with their line numbers."""

    path: Path
    object_name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column from top to bottom."""
        place = self.columns.index(name)
        return [cells[place] for _, cells in self.rows]


def load_export(org: Org, folder: Path) -> dict[str, int]:
    """Load every ``*.csv`` of a folder into the org and return how many records each object got.

    Users that were missing are counted under ``User``. Raises ValueError with one sentence that names the file
    (and line) if the folder is missing or empty, a file has no ``Id`` column or rows of another width, or a
    value does not fit its field.
    """
    sheets = read_folder(org, folder)
    prefixes = _prefixes(org, sheets)
    for sheet in sheets:
        _make_room(org, sheet, prefixes)
    counts: dict[str, int] = {}
    pointers: dict[str, str] = {}
    for sheet in sheets:
        records = _records(org.objects[sheet.object_name], sheet)
        for line, record in records:
            _load(org, sheet, line, record)
            _note_users(org.objects[sheet.object_name], record, pointers)
        counts[sheet.object_name] = len(records)
    invented = _invent_users(org, pointers)
    if invented:
        counts["User"] = counts.get("User", 0) + invented
    return counts


def read_folder(org: Org, folder: Path) -> list[Sheet]:
    """Read the CSV files of a folder in the order of their names; the org knows how names are written.

    Raises ValueError as ``load_export`` does.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the folder that holds the exported CSV files.")
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise ValueError(f"{folder} has no CSV files; put one per object there, for example Account.csv.")
    return [_read(org, path) for path in paths]


# --- reading files -----------------------------------------------------------------------------------


def _read(org: Org, path: Path) -> Sheet:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} can't be read as CSV in UTF-8 ({error}); export it again.") from error
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} cells for {len(header)} columns; check its quotes and commas."
            )
    name = {known.lower(): known for known in org.objects}.get(path.stem.lower(), path.stem)
    columns = _columns(org, path, name, header)
    kept = [place for place, column in enumerate(columns) if "." not in column]
    return Sheet(
        path,
        name,
        tuple(columns[place] for place in kept),
        tuple((line, tuple(cells[place] for place in kept)) for line, cells in rows),
    )


def _columns(org: Org, path: Path, name: str, header: Sequence[str]) -> list[str]:
    """Return the columns in the spelling of the API. Raises ValueError for a header no object can have."""
    spelled = {field.name.lower(): field.name for field in _SYSTEM_FIELDS}
    if name in org.objects:
        spelled |= {field.name.lower(): field.name for field in org.objects[name].fields}
    columns = [spelled.get(cell.strip().lower(), cell.strip()) for cell in header]
    if "Id" not in columns:
        raise ValueError(f"{path} has no Id column; export it again with Id among the fields.")
    for column in columns:
        if not _FIELD_NAME.fullmatch(column):
            raise ValueError(f"{path}: {column!r} is not the API name of a field; export it again with API names.")
        if columns.count(column) > 1:
            raise ValueError(f"{path} has the column {column} twice; remove one of them.")
    return columns


# --- objects and fields ------------------------------------------------------------------------------


def _prefixes(org: Org, sheets: Sequence[Sheet]) -> dict[str, str]:
    """Return key prefix -> object for the org's own objects and for those that the export brings."""
    found = {definition.key_prefix: name for name, definition in org.objects.items()}
    for sheet in sheets:
        if sheet.object_name not in org.objects:
            found[_prefix(sheet)] = sheet.object_name
    return found


def _prefix(sheet: Sheet) -> str:
    keys = sheet.column("Id")
    return keys[0][:3] if keys and is_id(keys[0]) else _SURE_PREFIXES.get(sheet.object_name, "zzz")


def _make_room(org: Org, sheet: Sheet, prefixes: dict[str, str]) -> None:
    """Add to the org what it does not know yet: the object, or some of its fields."""
    name = sheet.object_name
    if name not in org.objects:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", name.removesuffix("__c")).strip()
        fields = _guess_all(sheet, sheet.columns, prefixes)
        # Whatever the export left out: without stamps nothing could tell when a record changed.
        fields += [field for field in _SYSTEM_FIELDS if field.name not in sheet.columns]
        prefix = _prefix(sheet)
        org.define(ObjectDef(name, words, f"{words}s", prefix, tuple(fields), custom=name.endswith("__c")))
        return
    known = {field.name for field in org.objects[name].fields}
    for field in _guess_all(sheet, [column for column in sheet.columns if column not in known], prefixes):
        if field.name not in known:
            org.add_field(name, field)


def _guess_all(sheet: Sheet, columns: Sequence[str], prefixes: dict[str, str]) -> list[FieldDef]:
    fields = []
    for column in columns:
        cells = sheet.column(column)
        if is_address(column, [cell for cell in cells if cell]):
            fields += _address_fields(column, columns)
        else:
            fields.append(guess_field(column, cells, prefixes))
    return fields


def _address_fields(compound: str, columns: Sequence[str]) -> list[FieldDef]:
    """Return a compound address, and those of its parts that are not columns of their own."""
    stem = compound.removesuffix("Address")
    parts = tuple(f"{stem}{end}" for end in ADDRESS_KEYS.values())
    made = [
        FieldDef(part, "double" if part.endswith("tude") else "string", length=255, compound_of=compound)
        for part in parts
        if part not in columns
    ]
    return [*made, FieldDef(compound, "address", parts=parts, filterable=False, sortable=False)]


# --- records -----------------------------------------------------------------------------------------


def _records(definition: ObjectDef, sheet: Sheet) -> list[tuple[int, dict[str, Any]]]:
    """Return (line number, record) of every row, values as the org keeps them."""
    fields = {field.name: field for field in definition.fields}
    plain = [(place, fields[name]) for place, name in enumerate(sheet.columns) if fields[name].stored]
    compounds = [
        (place, fields[name])
        for place, name in enumerate(sheet.columns)
        if fields[name].type == "address" and not set(fields[name].parts) & set(sheet.columns)
    ]
    records = []
    for line, cells in sheet.rows:
        record: dict[str, Any] = {}
        for place, field in plain:
            record[field.name] = _value(sheet, line, field, cells[place])
        for place, field in compounds:
            record.update(_parts(sheet, line, field, cells[place]))
        records.append((line, record))
    return records


def _value(sheet: Sheet, line: int, field: FieldDef, cell: str) -> Any:
    if cell == "" or (cell in NULL_REFERENCES and field.type in ("reference", "string", "id")):
        return False if field.type == "boolean" else None
    try:
        return _READERS.get(field.type, str)(cell)
    except ValueError:
        raise ValueError(
            f"{sheet.path}, line {line}: {cell!r} is no {field.type} for the column {field.name}; correct the cell."
        ) from None


def _parts(sheet: Sheet, line: int, field: FieldDef, cell: str) -> dict[str, Any]:
    if not cell:
        return {}
    try:
        address = json.loads(cell)
    except ValueError:
        address = None
    if not isinstance(address, dict):
        raise ValueError(f"{sheet.path}, line {line}: {field.name} is no JSON object; correct the cell.")
    stem = field.name.removesuffix("Address")
    return {f"{stem}{end}": address.get(key) for key, end in ADDRESS_KEYS.items()}


def _boolean(cell: str) -> bool:
    if cell.lower() in _TRUE:
        return True
    if cell.lower() in _FALSE:
        return False
    raise ValueError


def _datetime(cell: str) -> str:
    at = cell.replace(" ", "T")
    # Without an offset the Data Export Service means UTC.
    return stamp(from_stamp(at if re.search(r"(Z|[+-]\d\d:?\d\d)$", at) else f"{at}+00:00"))


def _day(cell: str) -> str:
    # Some exports write a date as midnight.
    return date.fromisoformat(re.split("[T ]", cell, maxsplit=1)[0]).isoformat()


_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": _boolean,
    "datetime": _datetime,
    "date": _day,
    "time": lambda cell: cell if cell.endswith("Z") else f"{cell}Z",
    "int": lambda cell: int(float(cell)) if "." in cell else int(cell),
    "double": float,
    "currency": float,
    "percent": float,
    "id": to18,
    "reference": to18,
}


def _load(org: Org, sheet: Sheet, line: int, record: dict[str, Any]) -> None:
    if not record["Id"]:
        raise ValueError(f"{sheet.path}, line {line}: the Id is empty; every record needs one.")
    try:
        org.load(sheet.object_name, record)
    except OrgError as error:
        raise ValueError(f"{sheet.path}, line {line}: {error.message}; correct the cell.") from error


# --- users nobody exported ---------------------------------------------------------------------------


def _note_users(definition: ObjectDef, record: dict[str, Any], pointers: dict[str, str]) -> None:
    """Remember every user a record points to, with the earliest time it was there."""
    seen = record.get("CreatedDate") or ""
    for field in definition.fields:
        key = record.get(field.name)
        if field.type == "reference" and isinstance(key, str) and key.startswith("005"):
            pointers[key] = min(pointers.get(key, seen), seen) or seen


def _invent_users(org: Org, pointers: dict[str, str]) -> int:
    """Add a user for every id that points to none; their names follow from their order. Return how many."""
    missing = sorted(key for key in pointers if org.get("User", key) is None)
    for number, key in enumerate(missing):
        first = names.FIRST_NAMES[number % len(names.FIRST_NAMES)]
        last = names.LAST_NAMES[number * 7 % len(names.LAST_NAMES)]
        email = f"{names.slug(first)}.{names.slug(last)}.{number + 1}@example.com"
        row = {
            "Id": key,
            "FirstName": first,
            "LastName": last,
            "Name": f"{first} {last}",
            "Username": email,
            "Email": email,
            "Alias": names.slug(last)[:8],
            "Title": "Account Executive",
            "IsActive": True,
            "UserType": "Standard",
            "CreatedDate": pointers[key] or None,
            "CreatedById": key,
            "LastModifiedById": key,
        }
        org.load("User", row)
    return len(missing)
