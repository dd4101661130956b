"""Traits of a product's users as columns of `users`. Pure, and a function of what was told alone.

A client gives a trait any name and any form, and another form with the next call. So every trait column is text: its
type must not depend on who came first.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from integration.core import exactjson, naming

OBJECT: Final = "product"
"""What traits go by where fields go by their object: in `schema_log`, `headrace.properties` and `privacy.exclude`."""
EMAIL: Final = "email"
"""The trait that `users.email` is made from; it has no column of its own."""

_LONGEST_NAME: Final = 63
_LONGEST_VALUE: Final = 4_096
_NUL: Final = "\x00"
_NUL_IN_JSON: Final = "\\u0000"
_SYSTEM: Final = frozenset({"cmax", "cmin", "ctid", "rowid", "tableoid", "xmax", "xmin"})
"""Columns that stores give every table unasked."""

Traits = Mapping[str, tuple[str, Any]]
"""What was told of one id of the product: trait -> (when, value)."""
LeftOut = Callable[[str], bool]
"""Says of a trait (`plan`), or of a part of one (`company.name`), whether the settings leave it out."""


class Told(NamedTuple):
    """The value of a trait, or of a part of one; when (ISO 8601 UTC) and of which id it was told."""

    at: str
    value: Any
    product_id: str
    trait: str


class Shown(NamedTuple):
    """What a person's row shows, column -> text, and when any trait was told last."""

    values: Mapping[str, str] = MappingProxyType({})
    at: str = ""


def column_name(trait: str, fixed: Collection[str]) -> str | None:
    """Name the column of a trait or of a part of one (`companyName`, `company.name` -> `company_name`).

    What is called like one of the `fixed` columns, or as if it came from Salesforce, gets `_trait` behind its name.
    None where nothing is left of the name, or too much.
    """
    words = [naming.snake(part) for part in trait.split(".") if part]
    if not words or not all(words) or _NUL in trait:
        return None
    name = "_".join(words)
    if name[0].isdigit():
        name = f"trait_{name}"
    if name in fixed or name in _SYSTEM or name.startswith("sfdc_"):
        name = f"{name}_trait"
    return name if len(name) <= _LONGEST_NAME else None


def parts(trait: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Give what of a trait becomes columns, by name: the trait itself; of an object each of its keys."""
    if trait == EMAIL:
        return
    if isinstance(value, dict):
        yield from ((f"{trait}.{key}", inner) for key, inner in value.items())
    else:
        yield trait, value


def without(traits: Mapping[str, Any], left_out: LeftOut) -> dict[str, Any]:
    """Return traits (name -> value) without those, and those parts of objects, that the settings leave out."""
    kept = {name: value for name, value in traits.items() if not left_out(name)}
    for name, value in kept.items():
        if isinstance(value, dict):
            kept[name] = {key: inner for key, inner in value.items() if not left_out(f"{name}.{key}")}
    return kept


def text(value: Any) -> str | None:
    """Return a value as its column shows it: numbers in plain decimals, lists and objects as JSON; None for null, and
    for what is too long or holds U+0000."""
    if value is None:
        return None
    if isinstance(value, str):
        told = value
    elif isinstance(value, bool):
        told = "true" if value else "false"
    elif isinstance(value, int | float | Decimal):
        told = exactjson.plain(value)
    else:
        told = exactjson.dumps(value).decode()
        if _NUL_IN_JSON in told:
            return None
    return told if len(told) <= _LONGEST_VALUE and _NUL not in told else None


def told_last(by_id: Mapping[str, Traits], left_out: LeftOut) -> dict[str, Told]:
    """Return the last value of each trait of a person, whichever of the person's ids it was told of."""
    last: dict[str, Told] = {}
    for product_id, traits in by_id.items():
        for name, (at, value) in traits.items():
            if name != EMAIL and not left_out(name):
                one = Told(at, value, product_id, name)
                last[name] = max(last.get(name, one), one, key=_rank)
    return last


def by_column(last: Mapping[str, Told], fixed: Collection[str], left_out: LeftOut) -> dict[str, Told]:
    """Return column -> what it shows, of traits as `told_last` gives them. Names that make one column share it."""
    found: dict[str, Told] = {}
    for one in last.values():
        for name, value in parts(one.trait, one.value):
            column = column_name(name, fixed)
            if column is not None and not left_out(name):
                part = one._replace(value=value, trait=name)
                found[column] = max(found.get(column, part), part, key=_rank)
    return found


def shown(by_id: Mapping[str, Traits], columns: Collection[str], fixed: Collection[str], left_out: LeftOut) -> Shown:
    """Return what a person's row shows under these columns of all that was told of the person's ids."""
    last = told_last(by_id, left_out)
    found = by_column(last, fixed, left_out)
    values = {name: told for name, one in found.items() if name in columns and (told := text(one.value)) is not None}
    return Shown(values, max((one.at for one in last.values()), default=""))


def _rank(one: Told) -> tuple[str, bytes, str, str]:
    # Of two that were told at the same time any may win, if it is the same one always.
    return one.at, exactjson.dumps(one.value), one.trait, one.product_id
