"""`headrace streams`: what waits between Salesforce and the store."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.frame import Call, command, group
from integration.cli.options import Form, JsonLines, form
from integration.cli.output import ago, indented
from integration.errors import CheckError, UsageError

if TYPE_CHECKING:
    from integration.stream.entry import EntryView
    from integration.stream.inspect import GroupInfo, StreamInfo

_ENV = ("HEADRACE_REDIS__URL",)

Stream = Annotated[str, typer.Argument(help="Name of a stream, such as crm.contact.")]


def register(app: typer.Typer) -> None:
    """Add the group `streams`."""
    added = group(app, "streams", "Look into the streams.")
    command(added, "ls", example="headrace streams ls", env=_ENV)(ls)
    command(added, "tail", example="headrace streams tail crm.opportunity --where StageName='Closed Won'", env=_ENV)(
        tail
    )
    command(added, "peek", example="headrace streams peek crm.contact --json", env=_ENV)(peek)
    command(added, "lag", example="headrace streams lag --max 1000", env=_ENV)(lag)


def ls(call: Call) -> None:
    """List the streams: how long they are, and how far each group is."""
    found = _streams(call)
    if call.json:
        call.out.document(found)
        return
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    columns = ["stream", "length", "last", "group", "lag", "pending", "dead"]
    call.out.table(columns, [row | {"last": ago(row["last"], now)} for stream in found for row in _group_rows(stream)])


def tail(
    call: Call,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[STREAM]...", help="Streams; all if none is named.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="GLOB", help="Only such types: 'opportunity.*'.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="FIELD=VALUE", help="Only records with that value. Repeatable."),
    ] = None,
    start: Annotated[
        str, typer.Option("--start", metavar="OFFSET", help="Begin after this offset; 0: from the beginning.")
    ] = "$",
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after this many entries.")] = None,
    jsonl: JsonLines = False,
) -> None:
    """Follow streams: print entries as they arrive. Ctrl-C ends it.

    --jsonl prints an entry a line; --json needs --count and prints a list at the end.
    """
    wanted = form(json=call.json, jsonl=jsonl)
    if wanted is Form.JSON and count is None:
        raise UsageError("--json prints one document, and following has no end: use --jsonl, or give --count.")
    conditions = _conditions(where or [])
    settings = call.settings
    from integration.stream import inspect
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        chosen = names or [stream.name for stream in inspect.streams(reached.client)]
        if not chosen:
            raise UsageError("There is no stream yet: name the ones to wait for, or start `headrace run`.")
        call.out.progress(f"Following {', '.join(chosen)}. Ctrl-C ends it.")
        entries = inspect.tail(
            reached.client, chosen, start=start, type_glob=kind, where=conditions, stop=lambda: False
        )
        _print(call, itertools.islice(entries, count), wanted)


def peek(
    call: Call,
    stream: Stream,
    offset: Annotated[str | None, typer.Argument(help="Entry to begin with; the newest if none is given.")] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=10_000, help="How many entries.")] = 1,
    jsonl: JsonLines = False,
) -> None:
    """Show single entries of a stream, decoded."""
    wanted = form(json=call.json, jsonl=jsonl)
    settings = call.settings
    from integration.stream import inspect
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        entries = inspect.peek(reached.client, stream, offset, count)
    if wanted is not Form.TABLE:
        _print(call, entries, wanted)
        return
    for entry in entries:
        _print_whole(call, entry)
    if not entries:
        call.out.note(f"{stream} has no entry{f' from {offset} on' if offset else ''}.")


def lag(
    call: Call,
    limit: Annotated[
        int | None,
        typer.Option("--max", min=0, help="Exit with 5 if a group is further behind, or it is unknown how far."),
    ] = None,
) -> None:
    """Show how many entries each group still has to take; `-` where Redis does not know."""
    rows = [row for stream in _streams(call) for row in _group_rows(stream)]
    shown = [{key: row[key] for key in ("stream", "group", "lag", "pending")} for row in rows]
    if call.json:
        call.out.document(shown)
    else:
        call.out.table(["stream", "group", "lag", "pending"], shown)
    behind = [row["stream"] for row in shown if limit is not None and (row["lag"] is None or row["lag"] > limit)]
    if behind:
        raise CheckError(f"{', '.join(behind)}: more than {limit:,} entries behind, or it is unknown how many.")


def _streams(call: Call) -> "list[StreamInfo]":
    settings = call.settings
    from integration.stream import inspect
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        return inspect.streams(reached.client)


def _group_rows(stream: "StreamInfo") -> list[dict[str, Any]]:
    """One row per group; a stream that nobody reads has one too, all of it waiting."""
    head = {"stream": stream.name, "length": stream.length, "last": stream.last_at, "dead": stream.dead}
    groups: tuple[GroupInfo, ...] = stream.groups
    if not groups:
        return [head | {"group": None, "lag": stream.length, "pending": 0}]
    return [head | {"group": g.name, "lag": g.lag.lag, "pending": g.lag.pending} for g in groups]


def _conditions(where: list[str]) -> dict[str, str]:
    parts = [condition.partition("=") for condition in where]
    for field, sign, _ in parts:
        if not field or not sign:
            raise UsageError(f"--where {field} is no condition: write FIELD=VALUE, e.g. --where StageName=Prospecting.")
    return {field: value for field, _, value in parts}


def _print(call: Call, entries: "Iterable[EntryView]", wanted: Form) -> None:
    if wanted is Form.JSON:
        call.out.document(list(entries))
    elif wanted is Form.JSON_LINES:
        call.out.lines(entries)
    else:
        for entry in entries:
            call.out.text(_line(entry))


def _line(entry: "EntryView") -> str:
    kind = (entry.type or "-").removeprefix("com.salesforce.")
    parts = (
        _clock(entry),
        kind,
        entry.subject or "-",
        entry.origin or "-",
        f"[{entry.stream} {entry.offset}]",
        entry.note,
    )
    return "  ".join(part for part in parts if part)


def _clock(entry: "EntryView") -> str:
    return entry.at[11:19] if entry.at else "-"


def _print_whole(call: Call, entry: "EntryView") -> None:
    call.out.text(_line(entry))
    for line in indented(entry.raw if entry.data is None else entry.data):
        call.out.text(line)
