"""The marts as a project of dbt: models, sources, and what always holds of them as tests. Pure text."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from integration.core import naming
from integration.store import tables
from integration.store.attribution import Attribution
from integration.store.dialects import Dialect, said_in
from integration.store.markers import DEFAULT
from integration.store.marts import SHOWN, Mart
from integration.store.projection import Shape
from integration.store.quoting import identifier

MARK: Final = "# Written by headrace marts export-dbt, and written anew by the next one."
SCHEMA: Final = "models/schema.yml"
PROFILES: Final = "profiles.yml"
"""The one file that is people's own, once it is there."""
_MARK_OF_PROFILES: Final = "# Where dbt finds the store, and where it writes. Written once: change it as you like."

_OURS: Final = "headrace"
_MAIN_SCHEMA: Final = {Dialect.DUCKDB: "main", Dialect.POSTGRES: "public", Dialect.CLICKHOUSE: "default"}
_SOURCES: Final = {
    "users": "One row per person.",
    "events": "One row for each thing that happened.",
    "changes": "One row per field that changed.",
    "identities": "One row per id or e-mail that belongs to a person.",
}
_TYPE: Final = re.compile(r"^ *type: *['\"]?(\w+)", re.MULTILINE)
_MODEL: Final = re.compile(r"^  - name: (\w+)$", re.MULTILINE)
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NO_TEXT: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_SETTINGS: Final = {
    "join_use_nulls": 1,
    "union_default_mode": "DISTINCT",
    "prefer_column_name_to_alias": 1,
    "session_timezone": "UTC",
}
"""Under which ClickHouse understands SQL as other databases do."""
_PROFILE: Final[Mapping[Dialect, Mapping[str, Any]]] = {
    Dialect.DUCKDB: {"type": "duckdb", "path": "dbt.duckdb", "threads": 1},
    Dialect.POSTGRES: {
        "type": "postgres",
        "host": "{{ env_var('PGHOST', 'localhost') }}",
        "port": "{{ env_var('PGPORT', '5432') | as_number }}",
        "user": "{{ env_var('PGUSER') }}",
        "password": "{{ env_var('PGPASSWORD', '') }}",
        "dbname": "{{ env_var('PGDATABASE') }}",
        "schema": "dbt",
        "threads": 1,
    },
    Dialect.CLICKHOUSE: {
        "type": "clickhouse",
        "host": "{{ env_var('CLICKHOUSE_HOST', 'localhost') }}",
        "user": "{{ env_var('CLICKHOUSE_USER', 'default') }}",
        "password": "{{ env_var('CLICKHOUSE_PASSWORD', '') }}",
        "schema": "dbt",
        "threads": 1,
        "custom_settings": _SETTINGS,
    },
}


def project(
    dialect: Dialect,
    shape: Shape,
    version: str,
    *,
    store: str = "",
    schema: str = "",
    rules: Attribution = DEFAULT,
) -> dict[str, str]:
    """Return the files of the project: path -> text.

    `store` is the file of a DuckDB store; `schema` names where people's tables lie (a ClickHouse database), if it is
    not the dialect's usual one. Raises ConfigError where what translates SQL is not installed.
    """
    found = {
        "dbt_project.yml": _yaml(_project(version)),
        "models/sources.yml": _yaml(_sources(dialect, shape, schema)),
        SCHEMA: _yaml({"version": 2, "models": [_model(mart, shape) for mart in SHOWN]}),
        PROFILES: _yaml({_OURS: {"target": "dev", "outputs": {"dev": _profile(dialect, store)}}}, _MARK_OF_PROFILES),
    }
    for mart in SHOWN:
        found[f"models/{mart.name}.sql"] = said_in(dialect, mart.everything(shape, rules), _relation).strip() + "\n"
        if len(words()[mart.name]["unique"]) > 1:
            found[f"tests/{mart.name}_is_unique.sql"] = _unique(mart)
    return found


@cache
def words() -> Mapping[str, Any]:
    """Return what the marts mean, and what always holds of them (`integration/marts/words.toml`)."""
    return tomllib.loads(files("integration").joinpath("marts", "words.toml").read_text("utf-8"))


def kept(dialect: Dialect, profiles: str) -> str | None:
    """Return what to know of a profiles.yml that stays as it is; None where it names a store of that dialect."""
    if dialect.value in _TYPE.findall(profiles):
        return None
    return f"{PROFILES} was kept, and names no store of {dialect}: change it, or take it away and export again."


def left_behind(schema: str) -> list[str]:
    """List the models that are marts no more, by the schema.yml of an earlier export."""
    return [name for name in _MODEL.findall(schema) if name not in tables.MARTS]


def _relation(table: str) -> str:
    """Return what a model calls a table."""
    if table in tables.MARTS:
        return f"{{{{ ref('{table}') }}}}"
    schema, _, name = table.rpartition(".")
    return f"{{{{ source('{_source_of(schema)}', '{name}') }}}}"


def _source_of(schema: str) -> str:
    return f"{_OURS}_own" if schema == _OURS else schema or _OURS


def _project(version: str) -> dict[str, Any]:
    return {
        "name": _OURS,
        "version": version,
        "config-version": 2,
        "require-dbt-version": ">=1.10.5",
        "profile": _OURS,
        "model-paths": ["models"],
        "test-paths": ["tests"],
        "flags": {"require_generic_test_arguments_property": True, "send_anonymous_usage_stats": False},
        "models": {_OURS: {"+materialized": "table"}},
    }


def _profile(dialect: Dialect, store: str) -> dict[str, Any]:
    # Beside the store, not in it: nobody but headrace writes there.
    attached = {"attach": [{"path": store, "alias": _OURS, "read_only": True}]} if dialect is Dialect.DUCKDB else {}
    return {**_PROFILE[dialect], **attached}


def _sources(dialect: Dialect, shape: Shape, schema: str) -> dict[str, Any]:
    default = _OURS if dialect is Dialect.DUCKDB else None
    database = f"'{default}'" if default else "target.database"
    place = {} if dialect is Dialect.CLICKHOUSE else {"database": f"{{{{ var('headrace_database', {database}) }}}}"}
    main = schema or _MAIN_SCHEMA[dialect]
    raw = sorted({name for mart in SHOWN for name in mart.reads} & shape.columns.keys())
    return {
        "version": 2,
        "sources": [
            {
                "name": _OURS,
                "description": "The tables that headrace keeps for people to ask.",
                **place,
                "schema": f"{{{{ var('headrace_schema', {main!r}) }}}}",
                "tables": [{"name": name, "description": text} for name, text in _SOURCES.items()],
            },
            {
                "name": "salesforce",
                "description": "Raw records, as Salesforce has them.",
                **place,
                "schema": "salesforce",
                "tables": [{"name": naming.table_of(name).rpartition(".")[2]} for name in raw],
            },
            {
                "name": _source_of(_OURS),
                "description": "headrace's own tables; what the org does not have is read from here, as nothing.",
                **place,
                "schema": _OURS,
                "tables": [{"name": "meta"}],
            },
        ],
    }


def _model(mart: Mart, shape: Shape) -> dict[str, Any]:
    told = words()[mart.name]
    columns = []
    for column in mart.columns:
        tests = _tests(column.name, told, shape)
        columns.append(
            {
                "name": column.name,
                "description": told["columns"][column.name],
                "quote": True,
                **({"data_tests": tests} if tests else {}),
            }
        )
    return {"name": mart.name, "description": mart.sentence, "columns": columns}


def _tests(column: str, told: Mapping[str, Any], shape: Shape) -> list[Any]:
    tests: list[Any] = []
    if told["unique"] == [column]:
        tests.append("unique")
    if column in told["filled"]:
        tests.append("not_null")
    if column in told.get("one_of", {}):
        tests.append({"accepted_values": {"arguments": {"values": told["one_of"][column]}}})
    table, _, field = told.get("refers", {}).get(column, "").rpartition(".")
    if table and _is_there(table, shape):
        to = _relation(table).strip("{ }")
        tests.append({"relationships": {"arguments": {"to": to, "field": field}}})
    return tests


def _is_there(table: str, shape: Shape) -> bool:
    return "." not in table or table in {naming.table_of(name) for name in shape.columns}


def _unique(mart: Mart) -> str:
    columns = ", ".join(identifier(name) for name in words()[mart.name]["unique"])
    return (
        f"-- No two rows of {mart.name} are alike in these.\n"
        f"SELECT {columns}, count(*) AS n\nFROM {{{{ ref('{mart.name}') }}}}\nGROUP BY {columns}\nHAVING count(*) > 1\n"
    )


def _yaml(value: Mapping[str, Any], mark: str = MARK) -> str:
    return "\n".join([mark, *_lines(value, "")]) + "\n"


def _lines(value: Mapping[str, Any] | Sequence[Any], pad: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if one and isinstance(one, Mapping | list):
                yield f"{pad}{key}:"
                yield from _lines(one, pad + "  ")
            else:
                yield f"{pad}{key}: {_scalar(one)}"
        return
    for one in value:
        if one and isinstance(one, Mapping | list):
            first, *others = _lines(one, pad + "  ")
            yield f"{pad}- {first.strip()}"
            yield from others
        else:
            yield f"{pad}- {_scalar(one)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)  # which is YAML too
