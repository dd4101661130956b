"""The store: who has it, whether it is what its definitions say, what it knows of trouble."""

from collections.abc import Iterator, Mapping
from typing import Any

from integration.core.catalog import from_json
from integration.core.identity import SPACE
from integration.core.schema_changes import GONE
from integration.core.whereabouts import named
from integration.settings import Settings
from integration.store import tables
from integration.store.answers import ask
from integration.store.protocol import Reader
from integration.store.quoting import identifier, literal
from integration.stream.metrics import reread_since
from integration.wiring.checks import streams as streams_checks
from integration.wiring.checks.check import Check, State
from integration.wiring.reading import find_owner, place, version_of
from integration.wiring.streams import existing_streams, has_streams

_TWICE = """
SELECT 'users' AS "table", user_id AS key FROM users GROUP BY 2 HAVING count(*) > 1
UNION ALL SELECT 'accounts', account_id FROM accounts GROUP BY 2 HAVING count(*) > 1
UNION ALL SELECT 'identities', alias FROM identities GROUP BY 2 HAVING count(*) > 1
UNION ALL SELECT 'events', event_id FROM events GROUP BY 2 HAVING count(*) > 1
"""
_WITHOUT_USER = "SELECT count(*) AS n FROM identities WHERE user_id NOT IN (SELECT user_id FROM users)"
_WITHOUT_PERSON = """
SELECT count(*) AS n FROM headrace.states
WHERE object IN ('Contact', 'Lead') AND record_id NOT IN (SELECT alias FROM identities)
"""
_DRIFT = 'SELECT object, field, kind, note, "at" FROM schema_log WHERE "at" > now() - INTERVAL 7 DAY ORDER BY "at"'
_MAIL_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'salesforce'
AND table_name IN ('contact', 'lead') AND column_name IN ('email', 'isconverted')
"""
_SWEEPS = """
SELECT object, ended_at, coalesce(missing, 0) + coalesce(stale, 0) + coalesce(ghosts, 0) AS differences,
       coalesce(repaired, 0) AS repaired
FROM reconciliations WHERE coalesce(kind, 'sweep') = 'sweep'
QUALIFY row_number() OVER (PARTITION BY object ORDER BY ended_at DESC) = 1 ORDER BY ended_at
"""
_DESCRIPTIONS = "SELECT object, body::VARCHAR AS body FROM headrace.schemas ORDER BY since"
_DEFINED = (
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = 'headrace' AND table_name = 'users_defined' ORDER BY ordinal_position"
)
_POSITIONS = 'SELECT stream, "offset" FROM headrace.positions'
_REBUILD = "rebuild the store from an empty file and sync"


def checks(settings: Settings, reader: Reader) -> Iterator[Check]:
    """Look at the store through whoever has it open."""
    count = ask(reader, "SELECT count(*) AS n FROM users")[0]["n"]
    owner = find_owner(settings)
    through = f" through process {owner.pid}, which has it open" if owner is not None else ""
    yield Check("store", State.OK, f"{place(settings)} answers{through}, {count:,} people")
    yield from _version(version_of(reader))
    yield from _tables(reader)
    yield from _drift(ask(reader, _DRIFT))
    yield from _shared_mailboxes(reader, settings.identity.max_cluster)
    yield from _sweeps(ask(reader, _SWEEPS))
    yield from _beside_the_streams(settings, reader)


def _version(version: int) -> Iterator[Check]:
    if version < tables.SCHEMA_VERSION:
        yield Check(
            "store version", State.WARN,
            f"its tables are of version {version}, and this headrace writes version {tables.SCHEMA_VERSION}",
            "the next worker brings them up to date: start headrace run, or run: headrace sync",
        )  # fmt: skip


def _tables(reader: Reader) -> Iterator[Check]:
    twice = ask(reader, _TWICE, limit=5)
    if twice:
        shown = ", ".join(f"{r['table']} {r['key']}" for r in twice)
        yield Check("one row each", State.FAIL, f"rows stand twice: {shown}", _REBUILD)
    astray = ask(reader, _WITHOUT_USER)[0]["n"] + ask(reader, _WITHOUT_PERSON)[0]["n"]
    if astray:
        yield Check("identity", State.FAIL, f"{astray:,} aliases or records belong to nobody", _REBUILD)
    wrong = _not_as_defined(reader)
    if wrong:
        yield Check(
            "users", State.FAIL, f"{wrong:,} rows of users are not what headrace.users_defined says",
            f"{_REBUILD}, and report how it came about",
        )  # fmt: skip
    if not (twice or astray or wrong):
        yield Check("tables", State.OK, "every person stands once, as defined; so do accounts, aliases and events")


def _not_as_defined(reader: Reader) -> int:
    """Count the rows in which the table `users` and its defining query differ."""
    columns = ", ".join(identifier(r["column_name"]) for r in ask(reader, _DEFINED))
    if not columns:
        return 0
    table, defined = f"SELECT {columns} FROM users", f"SELECT {columns} FROM headrace.users_defined"
    sql = f"SELECT count(*) AS n FROM (({table} EXCEPT {defined}) UNION ALL ({defined} EXCEPT {table}))"
    return int(ask(reader, sql)[0]["n"])


def _drift(log: list[dict[str, Any]]) -> Iterator[Check]:
    """One line for each kind of change of each object that has not been undone since."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in log:
        name, field, kind = row["object"], row["field"], row["kind"]
        if kind in ("added", "shown", "removed"):
            for other in ("came", "went"):
                found.get((name, other), {}).pop(field, None)
        if kind == "removed" and row["note"] == GONE:
            found.setdefault((name, "went"), {})[field] = row["at"]
        elif kind in ("added", "shown"):
            found.setdefault((name, "came"), {})[field] = row["at"]
        elif kind == "retyped" and (row["note"] or "").endswith("a new column"):
            found.setdefault((name, "retyped"), {})[field] = row["at"]
    for (name, what), fields in sorted(found.items()):
        if fields:
            yield _drifted(name, what, fields)


def _drifted(name: str, what: str, fields: Mapping[str, str]) -> Check:
    count, are, have = (f"{len(fields)} fields", "are", "have") if len(fields) > 1 else ("1 field", "is", "has")
    told, since = f"{name}: {count}", f"({named(fields)}) since {min(fields.values())}"
    if what == "came":
        return Check("fields", State.OK, f"{told} {are} new or shown again {since}")
    if what == "went":
        return Check(
            "fields", State.WARN, f"{told} {are} no longer shown to this login {since}; the last values are kept",
            "restore access (Setup > Permission Sets), or leave it so",
        )  # fmt: skip
    return Check(
        "fields", State.WARN, f"{told} {have} another type {since}, so the values are in a new column",
        f"see which: headrace sql \"SELECT * FROM schema_log WHERE kind = 'retyped' AND object = '{name}'\"",
    )  # fmt: skip


def _shared_mailboxes(reader: Reader, most: int) -> Iterator[Check]:
    columns = {(r["table_name"], r["column_name"]) for r in ask(reader, _MAIL_COLUMNS)}
    selects = []
    for table in ("contact", "lead"):
        if (table, "email") in columns:
            live = "NOT is_deleted" + (" AND NOT isconverted" if (table, "isconverted") in columns else "")
            mail = f"lower(trim(email, {literal(SPACE)}))"
            selects.append(f"SELECT {mail} AS email FROM salesforce.{table} WHERE {live} AND {mail} <> ''")
    if not selects:
        return
    each = " UNION ALL ".join(selects)
    sql = f"SELECT count(*) AS n FROM (SELECT email FROM ({each}) GROUP BY email HAVING count(*) > {most:d})"
    count = ask(reader, sql)[0]["n"]
    if count:
        what = "1 e-mail address is" if count == 1 else f"{count:,} e-mail addresses are"
        yield Check(
            "identity", State.WARN,
            f"{what} used by more than {most} records each, so {'it does' if count == 1 else 'they do'} not make one "
            "person", "raise identity.max_cluster, or clean them up in Salesforce",
        )  # fmt: skip


def _sweeps(last: list[dict[str, Any]]) -> Iterator[Check]:
    if not last:
        yield Check("sweep", State.OK, "the store has never been held against Salesforce", "do it with: headrace sweep")
        return
    open_ones = [r for r in last if r["differences"] > r["repaired"]]
    for row in open_ones:
        yield Check(
            "sweep", State.WARN, f"{row['object']}: the sweep of {row['ended_at']} left "
            f"{row['differences'] - row['repaired']:,} of {row['differences']:,} differences",
            f"run: headrace sweep {row['object']}; for one record: headrace why RECORD_ID",
        )  # fmt: skip
    if not open_ones:
        yield Check("sweep", State.OK, f"the last sweeps left no difference, the oldest at {last[0]['ended_at']}")


def _beside_the_streams(settings: Settings, reader: Reader) -> Iterator[Check]:
    """Look at what only store and streams together tell: calculated fields, and gaps between the two."""
    if not has_streams(settings):
        return
    newest = {r["object"]: from_json(r["body"]) for r in ask(reader, _DESCRIPTIONS)}
    positions = {r["stream"]: r["offset"] for r in ask(reader, _POSITIONS)}
    with existing_streams(settings) as streams:
        yield from streams_checks.gaps(streams.client, positions, newest)
        counts = {name: sum(f.calculated for f in schema.fields) for name, schema in newest.items()}
        since = {name: at for name, at in reread_since(streams.client).items() if counts.get(name)}
    if since:
        total, objects = sum(counts.values()), sum(1 for count in counts.values() if count)
        known = f"the longest ago of {len(since)} read again: {min(since.values())}"
        yield Check("formulas", State.OK, f"{total} calculated fields of {objects} objects move unseen; {known}")
