"""`headrace streams`: what waits between Salesforce and the store."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.entries import (
    Stream,
    Type,
    Where,
    filter_of,
    moment,
    print_entries,
    print_whole,
    short_type,
    unmet,
)
from integration.cli.frame import Call, command, group
from integration.cli.inspecting import describe, idle_for, print_report
from integration.cli.options import Form, JsonLines, form
from integration.cli.output import ago
from integration.errors import CheckError, UsageError

if TYPE_CHECKING:
    from integration.stream.inspect import GroupInfo, PendingEntry, StreamInfo

_ENV = ("HEADRACE_REDIS__URL",)


def register(app: typer.Typer) -> None:
    """Add the group `streams`."""
    added = group(app, "streams", "Look into the streams.")
    command(added, "ls", example="headrace streams ls", env=_ENV)(ls)
    command(added, "inspect", example="headrace streams inspect crm.contact", env=_ENV)(inspect_stream)
    command(added, "lag", example="headrace streams lag --max 1000", env=_ENV)(lag)
    command(added, "pending", example="headrace streams pending crm.contact --idle 60s", env=_ENV)(pending)
    command(added, "tail", example="headrace streams tail crm.opportunity --where StageName='Closed Won'", env=_ENV)(
        tail
    )
    command(added, "peek", example="headrace streams peek crm.contact --where 'Email~=@example.com' --json", env=_ENV)(
        peek
    )


def ls(call: Call) -> None:
    """List the streams: how long they are, and how far each group is."""
    found = _streams(call)
    if call.json:
        call.out.document(found)
        return
    now = datetime.now(UTC)
    columns = ["stream", "length", "last", "group", "lag", "pending", "dead"]
    call.out.table(columns, [row | {"last": ago(row["last"], now)} for stream in found for row in _group_rows(stream)])


def inspect_stream(call: Call, stream: Stream) -> None:
    """Show all about one stream, also about one that is not headrace's: its ends, groups, consumers, types.

    Types are counted among the newest 1,000 entries. Times are those at which Redis took an entry.
    """
    settings = call.settings
    from integration.stream import inspect
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        inspect.require_stream(reached.client, stream)
        info, sample = inspect.stream(reached.client, stream), inspect.sample(reached.client, stream)
    report = describe(info, sample)
    if call.json:
        call.out.document(report)
    else:
        print_report(call, report)


def tail(
    call: Call,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[STREAM]...", help="Streams; all if none is named.")
    ] = None,
    kind: Type = None,
    where: Where = None,
    start: Annotated[
        str,
        typer.Option(
            "--start", metavar="OFFSET|TIME", help="Begin after this offset (0: from the beginning), or at this time."
        ),
    ] = "$",
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after this many entries.")] = None,
    jsonl: JsonLines = False,
) -> None:
    """Follow streams: print entries as they arrive. Ctrl-C ends it.

    --jsonl prints an entry a line; --json needs --count and prints a list at the end. Times are ISO 8601, -7d, -2h,
    yesterday: when Redis took the entry.
    """
    wanted = form(json=call.json, jsonl=jsonl)
    if wanted is Form.JSON and count is None:
        raise UsageError("--json prints one document, and following has no end: use --jsonl, or give --count.")
    filtered, begin = filter_of(where, kind), _start(start)
    settings = call.settings
    from integration.stream import find, inspect
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        chosen = names or [stream.name for stream in inspect.streams(reached.client)]
        if not chosen:
            raise UsageError("There is no stream yet: name the ones to wait for, or start `headrace run`.")
        for name in names or ():
            if not inspect.exists(reached.client, name):
                near = inspect.nearest(reached.client, name)
                call.out.note(f"There is no stream {name} yet{f' (there is {near})' if near else ''}: waiting for it.")
        call.out.progress(f"Following {', '.join(chosen)}. Ctrl-C ends it.")
        entries = find.tail(reached.client, chosen, start=begin, wanted=filtered, stop=lambda: False)
        print_entries(call, itertools.islice(entries, count), wanted)


def peek(
    call: Call,
    stream: Stream,
    offset: Annotated[str | None, typer.Argument(help="Entry to begin with; the newest if none is given.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, max=10_000, help="How many entries (1).")] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, max=10_000, metavar="N", help="The newest N that fit.")
    ] = None,
    kind: Type = None,
    where: Where = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Begin at this time: ISO 8601, -7d, yesterday.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Only entries from before this time.")
    ] = None,
    jsonl: JsonLines = False,
) -> None:
    """Show single entries of a stream, decoded: the newest, or those from an offset or a time on.

    Times are those at which Redis took the entries.
    """
    wanted = form(json=call.json, jsonl=jsonl)
    if last is not None and (count is not None or offset is not None):
        raise UsageError("--last counts back from the newest entry: leave out OFFSET and --count, or --last.")
    if offset is not None and since is not None:
        raise UsageError("OFFSET and --from both say where to begin: give one of them.")
    first, end = _span(offset, since, until)
    filtered = filter_of(where, kind)
    settings = call.settings
    from integration.stream import find
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        entries = find.peek(
            reached.client,
            stream,
            first=first,
            last=end,
            count=last or count or 1,
            newest=last is not None or (offset is None and since is None),
            wanted=filtered,
        )
    if wanted is not Form.TABLE:
        print_entries(call, entries, wanted)
    else:
        for entry in entries:
            print_whole(call, entry)
    if not entries and filtered is not None and filtered.looked_at:
        call.out.note(unmet(filtered))
    elif not entries:
        call.out.note(
            f"{stream} has no entry{f' from {offset} on' if offset else ' of that time' if since or until else ''}."
        )


def lag(
    call: Call,
    limit: Annotated[
        int | None,
        typer.Option(
            "--max",
            min=0,
            help="Exit with 5 if a group has more left to take, or it is unknown how many. What it has taken and not "
            "finished (pending) is not counted.",
        ),
    ] = None,
) -> None:
    """Show how many entries each group still has to take; `-` where Redis does not know.

    LAG are those it was not given yet, PENDING those it was given and has not finished.
    """
    rows = [row for stream in _streams(call) for row in _group_rows(stream)]
    shown = [{key: row[key] for key in ("stream", "group", "lag", "pending")} for row in rows]
    if call.json:
        call.out.document(shown)
    else:
        call.out.table(["stream", "group", "lag", "pending"], shown)
    behind = [row["stream"] for row in shown if limit is not None and (row["lag"] is None or row["lag"] > limit)]
    if behind:
        raise CheckError(f"{', '.join(behind)}: more than {limit:,} entries behind, or it is unknown how many.")


def pending(
    call: Call,
    stream: Stream,
    group_name: Annotated[str, typer.Option("--group", metavar="NAME", help="The group.")] = "store",
    idle: Annotated[
        str, typer.Option("--idle", metavar="TIME", help="Only what was delivered at least so long ago: 60s, 5m, 2h.")
    ] = "0",
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, help="How many entries, oldest first.")] = 100,
) -> None:
    """Show what a group was given and has not finished: to which consumer, how long ago, how often."""
    from integration.core.times import parse_duration

    try:
        idle_ms = parse_duration(idle) // timedelta(milliseconds=1)
    except ValueError as error:
        raise UsageError(f"--idle: {error}") from None
    settings = call.settings
    from integration.stream import inspect
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        inspect.require_stream(reached.client, stream)
        found = inspect.pending_entries(reached.client, stream, group_name, idle_ms=idle_ms, count=count)
    if call.json:
        call.out.document(found)
    elif found:
        columns = ["offset", "consumer", "idle", "deliveries", "type", "subject"]
        call.out.table(columns, [_pending_row(one) for one in found])
    if not found:
        since = f" that was delivered {idle} ago or earlier" if idle_ms else ""
        call.out.note(f"Nothing of {stream}{since} is pending in the group {group_name}.")
    elif len(found) == count:
        call.out.note(f"There may be more than these {count:,}: --count N shows them.")


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


def _pending_row(one: "PendingEntry") -> dict[str, Any]:
    return {
        "offset": one.offset,
        "consumer": one.consumer,
        "idle": idle_for(one.idle_ms),
        "deliveries": one.deliveries,
        "type": "trimmed away or deleted" if one.is_gone else short_type(one.type),
        "subject": one.subject,
    }


def _start(text: str) -> str:
    """Return the offset after which to begin: as it was given, or just before a time."""
    from integration.stream import find, names

    try:
        if text != "$":
            names.offset_key(text)
        return text
    except ValueError:
        pass
    try:
        return find.offset_before(find.offset_at(moment("--start", text)))
    except UsageError:
        raise UsageError(
            f"--start: {text!r} is neither an offset, such as 1795323942655-0, nor a time, such as 2026-11-22T05:00Z, "
            "-2h or yesterday."
        ) from None


def _span(offset: str | None, since: str | None, until: str | None) -> tuple[str, str]:
    """Return the first and the last offset to look at, as XRANGE takes them."""
    from integration.stream import find

    first, last = offset and find.checked(offset), None
    if since is not None:
        first = find.offset_at(begin := moment("--from", since))
        if until is not None and moment("--to", until) <= begin:
            raise UsageError(f"--from {since} is not before --to {until}: no entry can lie in between.")
    if until is not None:
        last = find.offset_before(find.offset_at(moment("--to", until)))
    return first or "-", last or "+"
