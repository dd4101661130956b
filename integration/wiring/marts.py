"""`headrace marts`: what the marts are, as SQL for people, and as a project of dbt."""

from dataclasses import dataclass
from pathlib import Path

from integration import __version__
from integration.errors import MissingStoreError, RunError, UsageError
from integration.settings import Settings
from integration.store import dbt, marts
from integration.store.addresses import database_of
from integration.store.dialects import Dialect, dialect_of, said_in
from integration.store.hints import did_you_mean
from integration.store.marts import SHOWN
from integration.store.projection import Shape
from integration.wiring import reading
from integration.wiring.catalog import raw_columns

__all__ = ["Dialect", "Exported", "MartRow", "MartShown", "export_dbt", "rows", "show"]


@dataclass(frozen=True, slots=True)
class MartRow:
    """A mart: its name, the column by whose values it is kept up to date, and what it tells."""

    name: str
    key: str
    sentence: str


@dataclass(frozen=True, slots=True)
class MartShown:
    """A mart and the SELECT that it is worked out by."""

    name: str
    key: str
    sentence: str
    dialect: str
    sql: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A project of dbt that was written: its folder, and its files by their paths in it."""

    folder: str
    dialect: str
    files: list[str]
    note: str | None
    """What to know of it, a sentence."""


def rows() -> list[MartRow]:
    """List the marts, each behind those that it reads."""
    return [MartRow(one.name, one.key, one.sentence) for one in SHOWN]


def show(settings: Settings, name: str, dialect: Dialect | None) -> tuple[MartShown, str | None]:
    """Return a mart with its SELECT, by default in the dialect of the store; and what to know of that, if anything.

    Raises UsageError for a name that none has.
    """
    found = next((one for one in SHOWN if one.name == name), None)
    if found is None:
        hint = did_you_mean(name.replace("-", "_"), [one.name for one in SHOWN])
        raise UsageError(f"There is no mart {name}.{hint} headrace marts ls lists them all.")
    shape, note = _shape(settings)
    wanted = dialect or dialect_of(settings.store.url)
    sql = said_in(wanted, found.everything(shape, settings.attribution.rules())).strip()
    return MartShown(found.name, found.key, found.sentence, wanted.value, sql), note


def export_dbt(settings: Settings, folder: Path, dialect: Dialect | None) -> Exported:
    """Write the marts as a project of dbt into a folder that is new, empty, or of an earlier export.

    Raises UsageError for any other folder, RunError where it can't be written.
    """
    shape, note = _shape(settings)
    wanted = dialect or dialect_of(settings.store.url)
    store = str(settings.store_path.absolute()) if settings.store_path is not None else "headrace.duckdb"
    database = database_of(settings.store.url) if dialect_of(settings.store.url) is Dialect.CLICKHOUSE else ""
    schema = database if wanted is Dialect.CLICKHOUSE else ""
    _check(folder)
    files = dbt.project(wanted, shape, __version__, store=store, schema=schema, rules=settings.attribution.rules())
    try:
        notes = _notes(folder, wanted)
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path != dbt.PROFILES or not target.exists():
                target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{folder} can't be written ({error.strerror}): name another folder, or see to it.") from None
    return Exported(str(folder), wanted.value, sorted(files), " ".join(filter(None, (note, *notes))) or None)


def _notes(folder: Path, dialect: Dialect) -> list[str]:
    """Say what an earlier export leaves that does not go with this one."""
    profiles, schema = (_text(folder / name) for name in (dbt.PROFILES, dbt.SCHEMA))
    found = [dbt.kept(dialect, profiles)] if profiles is not None else []
    left = [f"models/{name}.sql" for name in dbt.left_behind(schema or "") if (folder / f"models/{name}.sql").exists()]
    if left:
        found.append(f"What was exported before and is no mart now stays, and dbt builds it: {', '.join(left)}.")
    return [one for one in found if one is not None]


def _text(file: Path) -> str | None:
    return file.read_text("utf-8", "replace") if file.is_file() else None


def _check(folder: Path) -> None:
    head = folder / "dbt_project.yml"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the project.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not head.is_file() or not head.read_text("utf-8", "replace").startswith(dbt.MARK):
        raise UsageError(f"{folder} holds something else than an earlier export: name a new folder.")


def _shape(settings: Settings) -> tuple[Shape, str | None]:
    """Return which raw columns the store has; where there is none yet, those that the marts look for, and a note."""
    try:
        if not reading.exists(settings):
            raise MissingStoreError
        with reading.reader(settings) as store:
            return Shape(raw_columns(store)), None
    except MissingStoreError:
        return marts.full_shape(), "There is no store yet: this is for an org that has every column the marts look for."
