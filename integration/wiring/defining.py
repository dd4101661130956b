"""What `headrace definitions` tells: what is defined, what is wrong with it, and who is a member or would be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from consumers.members import Defined, arm_of, grown, version
from integration.errors import HeadraceError, MissingStoreError, UsageError
from integration.settings import Settings
from integration.store.answers import ask, plain_rows
from integration.store.definitions.book import Book
from integration.store.definitions.conditions import Ref, put_into_sql
from integration.store.definitions.funnels import funnel_of
from integration.store.definitions.needs import Org
from integration.store.definitions.statements import at_time, everyone, in_lines, moves, statement, versions_dealt
from integration.store.dialects import Dialect, dialect_of
from integration.store.protocol import Reader
from integration.store.quoting import literal
from integration.wiring import reading
from integration.wiring.catalog import raw_columns
from integration.wiring.clock import stamp
from integration.wiring.definitions import found, there, usable
from schemas.definitions import Cohort, Funnel

_RUN: Final = "SELECT kind, name, size, run_at, since, problem, version FROM definitions WHERE until IS NULL"
_HEAD: Final = "m.member_id, u.email, m.value, m.score, m.since, m.until, m.reasons"


@dataclass(frozen=True, slots=True)
class DefinitionRow:
    """A definition and how its last run went; `size`, `run_at` and `since` are None until a run has worked it out.

    `is_new` says that its file was changed since; `problem` is why it can't be used.
    """

    kind: str
    name: str
    title: str
    of: str
    size: int | None
    since: str | None
    run_at: str | None
    is_new: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class DefinitionShown:
    """A definition as its file says it, what it speaks of, and its SQL in the words of the store."""

    kind: str
    name: str
    version: str
    definition: dict[str, Any]
    needs: list[str]
    needed_by: list[str]
    sql: str


def listed(settings: Settings) -> list[DefinitionRow]:
    """List the definitions there are, those that can't be read too. Raises ConfigError where no folder is."""
    defined = there(settings)
    _, wrong = defined.bound()
    ran = _last_run(settings)
    # What was wrong with a file that was changed since is wrong no more, as far as anybody knows.
    told = {
        ref: ran[ref]["problem"]
        for ref, one in defined.definitions.items()
        if ref in ran and ran[ref]["problem"] and ran[ref]["version"] == version(one)
    }
    return _rows(defined, ran, {**told, **wrong})


def checked(settings: Settings) -> list[DefinitionRow]:
    """List the definitions as `listed` does, each asked once of the store, where there is one."""
    defined = there(settings)
    book, wrong = defined.bound()
    if reading.exists(settings):
        with reading.reader(settings) as store:
            org = raw_columns(store)
            refusals = {ref: _refusal(store, book, ref, org) for ref in book.definitions}
        wrong |= {ref: refusal for ref, refusal in refusals.items() if refusal is not None}
    return _rows(defined, _last_run(settings), wrong)


def _rows(defined: Defined, ran: Mapping[Ref, Mapping[str, Any]], wrong: Mapping[Ref, str]) -> list[DefinitionRow]:
    rows = []
    for ref in sorted({*defined.definitions, *wrong}):
        one, last = defined.definitions.get(ref), ran.get(ref, {})
        rows.append(
            DefinitionRow(
                ref.kind,
                ref.name,
                one.title if one is not None else "",
                one.of if one is not None else "",
                last.get("size"),
                last.get("since"),
                last.get("run_at"),
                one is not None and last.get("version") != version(one),
                wrong.get(ref),
            )
        )
    return rows


def shown(settings: Settings, name: str) -> DefinitionShown:
    """Return one definition. Raises UsageError for a name that none has, or that several have."""
    book, ref = usable(there(settings), name)
    one = book.definitions[ref]
    needed_by = sorted(str(other) for other, needs in book.needs.items() if ref in needs)
    with reading.reader(settings) as store:
        org = raw_columns(store)
    sql = in_words_of_store(settings, _asked(book, ref, org))
    needs = sorted(map(str, book.needs[ref]))
    return DefinitionShown(ref.kind, ref.name, version(one), one.model_dump(mode="json"), needs, needed_by, sql)


def in_words_of_store(settings: Settings, sql: str) -> str:
    """Return the SQL in the dialect of the store, on many lines."""
    dialect = dialect_of(settings.store.url)
    if dialect is not Dialect.DUCKDB:
        with reading.reader(settings) as store, put_into_sql():
            sql = store.compiled(sql)
    return in_lines(sql, dialect)


def preview(settings: Settings, name: str, now: datetime, rows: int | None, timeout: float) -> pa.Table:
    """Return what a run would change now: `what`, `member_id`, `email`, `value`, `score` and `because`, in order.

    At most so many `rows` (None: all), in at most so many seconds. Raises as `shown`.
    """
    book, ref = usable(there(settings), name)
    one = book.definitions[_having_members(ref)]
    with reading.reader(settings) as store:
        said = statement(book, ref, raw_columns(store))
        with put_into_sql():
            sql = store.compiled(_with_emails(at_time(moves(said), stamp(now))))
        if not isinstance(one, Cohort):
            return store.query(sql, limit=rows, timeout_seconds=timeout)
        bodies = [row["body"] for row in plain_rows(store.query(store.compiled(versions_dealt(ref))))]
        return _dealt(store.query(sql, timeout_seconds=timeout), ref, grown(bodies, one)).slice(0, rows)


def _with_emails(changes: str) -> str:
    return (
        f"SELECT d.what, d.member_id, u.email, d.value, d.score, d.because FROM ({changes}) AS d "
        "LEFT JOIN users AS u ON u.user_id = d.member_id ORDER BY d.what, d.member_id"
    )


def _dealt(moved: pa.Table, ref: Ref, arms: Sequence[Mapping[str, float]]) -> pa.Table:
    """Return those alone who would be given an arm, with that: arms are drawn here, and nobody loses one."""
    comes = moved.filter(pc.equal(moved["what"], "comes"))
    drawn = pa.array([arm_of(ref.name, arms, one) for one in comes["member_id"].to_pylist()], pa.string())
    place = comes.schema.get_field_index("value")
    return comes.set_column(place, comes.schema.field(place).with_type(pa.string()), drawn).filter(drawn.is_valid())


def members_sql(settings: Settings, name: str, moment: datetime | None) -> str:
    """Return the SELECT, in DuckDB's dialect, of who is a member, or was at a time. Raises as `shown`."""
    ref = _having_members(found(there(settings), name))
    when = "m.until IS NULL"
    if moment is not None:
        time = f"CAST({literal(stamp(moment))} AS TIMESTAMPTZ)"
        when = f"m.since <= {time} AND (m.until IS NULL OR m.until > {time})"
    of = f"m.kind = {literal(ref.kind)} AND m.name = {literal(ref.name)}"
    joined = "members AS m LEFT JOIN users AS u ON u.user_id = m.member_id"
    return f"SELECT {_HEAD} FROM {joined} WHERE {of} AND {when} ORDER BY m.score DESC, m.since, m.member_id"


def _last_run(settings: Settings) -> Mapping[Ref, Mapping[str, Any]]:
    if not reading.exists(settings):
        return {}
    try:
        with reading.reader(settings) as store:
            return {Ref(row["kind"], row["name"]): row for row in ask(store, _RUN)}
    except MissingStoreError:
        return {}


def _asked(book: Book, ref: Ref, org: Org) -> str:
    """Return the SELECT of what a definition says now."""
    one = book.definitions[ref]
    if isinstance(one, Funnel):
        return funnel_of(book, one, None)
    return at_time(everyone(statement(book, ref, org)), None)


def _having_members(ref: Ref) -> Ref:
    if ref.kind == "funnel":
        raise UsageError(f"A funnel has no members: headrace funnel {ref.name} tells how far people come.")
    return ref


def _refusal(store: Reader, book: Book, ref: Ref, org: Org) -> str | None:
    try:
        with put_into_sql():
            sql = store.compiled(_asked(book, ref, org))
        store.query(sql, limit=0)
    except HeadraceError as error:
        return str(error)
    return None
