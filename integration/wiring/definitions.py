"""Reads the folder of definitions: audiences, personas, journeys, cohorts, health and funnels in TOML, lists in CSV."""

import csv
import io
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from consumers.members import Defined
from integration.errors import ConfigError, UsageError
from integration.settings import Settings
from integration.store.definitions.book import Book
from integration.store.definitions.conditions import Ref
from integration.store.hints import did_you_mean
from schemas.definitions import KINDS, Definition

FOLDERS: Final = {
    "audience": "audiences",
    "persona": "personas",
    "journey": "journeys",
    "cohort": "cohorts",
    "health": "health",
    "funnel": "funnels",
}
"""Kind of definition -> the folder that its files lie in."""
LISTS: Final = "lists"
KEYS: Final = ("email", "domain", "user_id", "account_id", "contact_id", "lead_id", "product_user_id", "alias")
"""What the columns of a list may be called: by which keys it names people and accounts."""

_MOST_BYTES: Final = 10_000_000
_LONGEST_KEY: Final = 1_000
_NO_TEXT: Final = "\\u0000"
_NOTES: Final = re.compile(r"\A(?:#.*\n)+")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
_OF_ALIASES: Final = {"contact_id", "lead_id", "product_user_id"}


def read(settings: Settings) -> Defined | None:
    """Return what is defined, or None where there is no folder of definitions and no pack is asked for.

    Raises ConfigError for a pack that there is not, and for a folder that was named and is not there.
    """
    folder = settings.definitions.folder
    if not folder.is_dir() and settings.origin("definitions", "folder") != "default":
        raise ConfigError(f"There is no folder {folder} (definitions.folder): make it, or name another.")
    folders = [_pack(name) for name in settings.definitions.packs]
    if folder.is_dir():
        folders.append(folder)
    if not folders:
        return None
    together = Defined()
    for one in folders:
        together = _over(together, read_folder(one))
    return together


def there(settings: Settings) -> Defined:
    """Return what is defined. Raises UsageError where there is no folder of definitions; otherwise as `read`."""
    defined = read(settings)
    if defined is None:
        folder = settings.definitions.folder
        raise UsageError(f"Nothing is defined: there is no folder {folder}. docs/audiences.md says how to begin.")
    return defined


def _over(below: Defined, above: Defined) -> Defined:
    """Put a folder over another: what it calls by the same name counts, and be it that it can't be read."""
    hidden = {*above.definitions, *above.problems, *(_ref_of_list(name) for name in above.lists)}
    return Defined(
        {ref: one for ref, one in below.definitions.items() if ref not in hidden} | {**above.definitions},
        {name: keys for name, keys in below.lists.items() if _ref_of_list(name) not in hidden} | {**above.lists},
        {ref: one for ref, one in below.problems.items() if ref not in hidden} | {**above.problems},
        {**below.named_by, **above.named_by},
    )


def usable(defined: Defined, name: str, kind: str | None = None) -> tuple[Book, Ref]:
    """Return what can be used of all that is defined, and the definition of a name in it, of any kind or of one.

    Raises UsageError as `found`, ConfigError for one that can't be used.
    """
    ref = found(defined, name, kind)
    book, wrong = defined.bound()
    if ref in wrong:
        raise ConfigError(f"The {ref} can't be used: {wrong[ref]}")
    return book, ref


def found(defined: Defined, name: str, kind: str | None = None) -> Ref:
    """Return the definition of a name, `overage` or `audience/overage`. Raises UsageError for none, and for several."""
    known = sorted(ref for ref in {*defined.definitions, *defined.problems} if kind in (None, ref.kind))
    told, _, bare = name.rpartition("/")
    wanted = [ref for ref in known if ref.name == bare and told in ("", ref.kind)]
    if not wanted:
        hint = did_you_mean(bare, [ref.name for ref in known])
        raise UsageError(f"There is no {kind or 'definition'} {name}.{hint} headrace definitions ls lists them all.")
    if len(wanted) > 1:
        raise UsageError(f"Which {name}? {' or '.join(f'{ref.kind}/{ref.name}' for ref in wanted)}.")
    return wanted[0]


def packs() -> list[str]:
    """List the names of the packs that come with headrace."""
    return sorted(one.name for one in _packs().iterdir() if one.is_dir() and not one.name.startswith("_"))


def read_folder(folder: Traversable | Path) -> Defined:
    """Return what a folder defines; what can't be read of it is a problem with a sentence."""
    definitions: dict[Ref, Definition] = {}
    problems = _strangers(folder)
    for kind, name in FOLDERS.items():
        for file in _files(folder.joinpath(name), ".toml"):
            ref = Ref(kind, file.name.removesuffix(".toml"))
            try:
                definitions[ref] = _definition(kind, file)
            except ConfigError as error:
                problems[ref] = f"{name}/{file.name}: {error}"
    lists, named_by = {}, {}
    for file in _files(folder.joinpath(LISTS), ".csv"):
        try:
            named_by[file.name], lists[file.name] = _list(file)
        except ConfigError as error:
            # Whoever leaves such a list out must not go on without it: for them it is not there, and that is told.
            problems[_ref_of_list(file.name)] = f"{LISTS}/{file.name}: {error}"
    return Defined(definitions, lists, problems, named_by)


def _strangers(folder: Traversable | Path) -> dict[Ref, str]:
    """Tell of what looks like a definition and lies where none is looked for: nobody must think that it counts."""
    places = sorted([*FOLDERS.values(), LISTS])
    strangers = {}
    for one in sorted(folder.iterdir(), key=lambda f: f.name):
        name = one.name
        if one.is_dir() and name not in places and not name.startswith(".") and _files(one, ".toml"):
            hint = did_you_mean(name, places)
            strangers[Ref("folder", name)] = (
                f"{name}: no kind of definition lies there.{hint} There are: {', '.join(places)}."
            )
        elif one.is_file() and name.endswith(".toml") and not name.startswith("."):
            strangers[Ref("file", name)] = f"{name}: definitions lie in folders by their kind: {', '.join(places)}."
    return strangers


def _ref_of_list(name: str) -> Ref:
    return Ref("list", name.removesuffix(".csv"))


def read_file(kind: str, file: Path) -> Definition:
    """Return the definition in a file, wherever it lies. Raises ConfigError."""
    try:
        return _read(kind, file)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def _definition(kind: str, file: Traversable) -> Definition:
    if not _NAME.fullmatch(file.name.removesuffix(".toml")):
        raise ConfigError(
            "a name has small letters, digits and underscores, and begins with a letter: rename the file."
        )
    return _read(kind, file)


def _read(kind: str, file: Traversable) -> Definition:
    try:
        one = KINDS[kind].model_validate(tomllib.loads(_text(file)))
    except ValidationError as error:
        raise ConfigError(_sentence(error, KINDS[kind])) from None
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise ConfigError(f"it is not valid TOML: {str(error).rstrip('.')}.") from None
    except RecursionError:
        raise ConfigError("it is not valid TOML: it is nested too deeply.") from None
    if _NO_TEXT in one.model_dump_json():
        raise ConfigError("a text of it holds the character U+0000, which no store can keep: take it out.")
    return one


def _sentence(error: ValidationError, model: type[Definition]) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(str(first["loc"][-1]), [*model.model_fields])
        return f"there is no key {place}.{hint}"
    what = first["msg"].removeprefix("Value error, ")
    return f"{place}: {what}." if place else f"{what}."


def _list(file: Traversable) -> tuple[frozenset[str], list[tuple[str, str]]]:
    """Return by which kinds of keys a list names anybody, and the (kind, key) of each."""
    text = _NOTES.sub("", _text(file))
    first = text.partition("\n")[0]
    # What spreadsheets write in Europe, and what is copied out of them.
    between = max(",;\t", key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, delimiter=between, strict=True)
    try:
        names = [(name or "").strip().lower() for name in rows.fieldnames or ()]
        if not {*names} & {*KEYS}:
            raise ConfigError(f"none of its columns is one of {', '.join(KEYS)}: name them in its first line.")
        rows.fieldnames = names
        return frozenset(_kind(column) for column in KEYS if column in names), [*_keys(rows)]
    except csv.Error as error:
        raise ConfigError(f"line {rows.line_num} of it is no CSV: {error}.") from None


def _keys(rows: Iterable[dict[str, str | None]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        for column in KEYS:
            value = (row.get(column) or "").strip()
            if not value:
                continue
            if len(value) > _LONGEST_KEY:
                raise ConfigError(f"a {column} of it has more than {_LONGEST_KEY:,} characters: correct it.")
            if "\0" in value:
                raise ConfigError(f"a {column} of it holds the character U+0000: take it out.")
            if column in ("email", "domain"):
                value = value.lower().removeprefix("@")
            yield _kind(column), value


def _kind(column: str) -> str:
    return "alias" if column in _OF_ALIASES else column


def _files(folder: Traversable, ending: str) -> list[Traversable]:
    if not folder.is_dir():
        return []
    return sorted(
        (f for f in folder.iterdir() if f.name.endswith(ending) and not f.name.startswith(".") and f.is_file()),
        key=lambda f: f.name,
    )


def _text(file: Traversable) -> str:
    try:
        with file.open("rb") as opened:
            if len(opened.read(_MOST_BYTES + 1)) > _MOST_BYTES:
                raise ConfigError(f"it is larger than {_MOST_BYTES // 1_000_000} MB.")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"it can't be read: {reason}.") from None


def _packs() -> Traversable:
    return files("integration").joinpath("packs")


def _pack(name: str) -> Traversable:
    if name not in packs():
        hint = did_you_mean(name, packs())
        raise ConfigError(f"There is no pack {name} (definitions.packs).{hint} There are: {', '.join(packs())}.")
    return _packs().joinpath(name)
