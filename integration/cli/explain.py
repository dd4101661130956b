"""The command that takes a row apart: explain."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.frame import Call, command
from integration.cli.output import ago, cell

if TYPE_CHECKING:
    from integration.wiring.explanation import Explanation, Origin

_ENV = ("HEADRACE_STORE__URL",)
_COLUMNS = ("property", "value", "record", "field", "version", "event", "set", "by")
_WIDEST = 60


def register(app: typer.Typer) -> None:
    """Add explain."""
    command(app, "explain", example="headrace explain ada@example.com --property '*_title'", env=_ENV)(explain)


def explain(
    call: Call,
    whom: Annotated[
        str, typer.Argument(metavar="EMAIL|ID", help="E-mail address; or id of a contact, lead, user row or account.")
    ],
    only: Annotated[
        str | None, typer.Option("--property", metavar="GLOB", help="Only such properties: 'sfdc_account_*'.")
    ] = None,
    no_values: Annotated[
        bool, typer.Option("--no-values", help="Name fields and records, but no value and no person.")
    ] = False,
) -> None:
    """Say where each property of a person or an account comes from.

    The record and field it is copied from, the rule that chose that record, and the event that set the value last.
    Works while a worker owns the store; asks Salesforce nothing.
    """
    settings = call.settings
    from integration.wiring.explain import explain_row

    told = explain_row(settings, whom, only="*" if only is None else only, show_values=not no_values)
    if call.json:
        call.out.document(told)
    else:
        _print(call, told, with_empty=only is not None, with_values=not no_values)


def _print(call: Call, told: "Explanation", *, with_empty: bool, with_values: bool) -> None:
    call.out.text(f"{told.kind.title()} {told.id}{' (deleted)' if told.is_deleted else ''}")
    width = max((len(a.kind) for a in told.aliases), default=0)
    for alias in told.aliases:
        call.out.text(f"  {alias.kind:<{width}}  {alias.alias}: {alias.why}")
    if told.sources:
        call.out.text("")
        shown = [{"part": s.part, "record": _record(s.object, s.record_id), "chosen": s.rule} for s in told.sources]
        call.out.table(["part", "record", "chosen"], shown)
    now = datetime.now(UTC)
    rows = [_row(one, now) for one in told.properties if with_empty or one.is_filled]
    if rows:
        call.out.text("")
        call.out.table([c for c in _COLUMNS if with_values or c != "value"], rows)
    if told.opportunities:
        call.out.text("")
        call.out.text(f"Counted {told.opportunities_rule}:")
        columns = ("record_id", "name", "stage", "amount", "counts_in") if with_values else ("record_id", "counts_in")
        listed = [
            {"name": o.name, "stage": o.stage, "amount": o.amount, "record_id": o.record_id,
             "counts_in": ", ".join(name.removeprefix("sfdc_opportunity_") for name in o.counts_in)}
            for o in told.opportunities
        ]  # fmt: skip
        call.out.table(columns, listed)
    empty = len(told.properties) - len(rows)
    if empty:
        call.out.note(f"{empty:,} empty properties are left out; --property '*' shows them too.")


def _row(one: "Origin", now: datetime) -> dict[str, Any]:
    by = one.set_by
    value = cell(one.value)
    how = {"first seen": " (first seen)", "seen with": " (seen with it)"}
    return {
        "property": one.property,
        "value": value if len(value) <= _WIDEST else value[: _WIDEST - 3] + "...",
        "record": _record(one.object, one.record_id) if one.object else one.rule,
        "field": one.field,
        "version": one.version and ago(one.version, now),
        "event": by and by.event + how.get(by.how, ""),
        # Of what was there at first sight nobody knows who set it, nor when: only since when it is known.
        "set": by and ago(by.seen_at if by.how == "first seen" else by.time, now),
        "by": (by and by.how != "first seen" and (by.actor or by.actor_id)) or None,
    }


def _record(name: str | None, record_id: str | None) -> str:
    return f"{name} {record_id}" if record_id else f"no {name}"
