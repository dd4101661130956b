"""`headrace demo`: progress while it loads, then a living picture."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.frame import Call, command
from integration.cli.output import visible
from integration.cli.progress import progress_lines

if TYPE_CHECKING:
    from integration.wiring.demo import Demo, View
    from integration.wiring.pipeline import Progress

_CHANGES_BEFORE_EXIT = 40
_SECONDS_BETWEEN_CHANGES = 1.0
_PICTURE_EVERY_SECONDS = 30.0
_ROWS_SHOWN = 5
"""Of a report: the command that stands above them shows the others."""


def register(app: typer.Typer) -> None:
    """Add demo."""
    command(app, "demo", example="headrace demo --exit")(demo)


def demo(
    call: Call,
    exit_: Annotated[
        bool, typer.Option("--exit", help="Stop after the first full sync and some changes, and print what is there.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Start from a folder of Salesforce CSV exports.")
    ] = None,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="FOLDER", help="Where the demo keeps its files; emptied at every start.")
    ] = Path("headrace-demo"),
    accounts: Annotated[int, typer.Option("--accounts", min=1, max=100_000, help="Size of the invented company.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Another number makes another company.")] = 7,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where SQL is answered; 0: any free port.")] = 0,
) -> None:
    """Run everything with a sample org: no account, no Docker, nothing to install.

    A small Salesforce with living traffic, the poller, the streams, the consumer and the store, all on this
    machine. Ctrl-C ends it.
    """
    from integration.cli import logs
    from integration.wiring import demo as wired
    from integration.wiring.sync import sync

    began = time.monotonic()
    call.out.note("Founding a company with a Salesforce org of its own ...")
    with wired.demo(directory, data=data, accounts=accounts, seed=seed, port=port) as running:
        logs.configure(running.settings.log, running.settings.secrets)
        call.out.note(f"The org holds {_told(running.told)}.")
        calls, users = running.tell_of_product()
        if calls:
            call.out.note(f"Its product has told of {users:,} users, in {calls:,} calls to the worker's door.")
        first = sync(running.settings, progress_lines(call))
        read = f"{first.records_read:,} records" + (f" and {calls:,} calls" if calls else "")
        call.out.note(
            f"First sync: {read} became {running.people():,} people and {first.events_written:,} events, "
            f"{time.monotonic() - began:.0f} s after the start."
        )
        if exit_:
            _some_changes(call, running)
        else:
            _live(call, running)


def _some_changes(call: Call, running: "Demo") -> None:
    from integration.wiring.sync import sync

    said = running.happen(_CHANGES_BEFORE_EXIT)
    before = {e["event_id"] for e in running.newest_events()}
    report = sync(running.settings)
    happened = [e for e in running.newest_events() if e["event_id"] not in before]
    if call.json:
        call.out.document({"told": running.told, "said": said, "sync": report, "views": running.picture()})
        return
    call.out.text(f"Meanwhile, in the org ({len(said)} things happened, these among them):")
    for sentence in said[-8:]:
        call.out.text(f"  - {sentence}")
    call.out.text("")
    call.out.text(f"What headrace saw of it ({report.events_written} events, the newest first):")
    for event in happened[:10]:
        call.out.text(f"  {_line(event)}")
    _print_picture(call, running)
    _say_how_to_go_on(call, running)


def _live(call: Call, running: "Demo") -> None:
    """Print changes as they arrive, and the picture now and then, until Ctrl-C."""
    from integration.wiring import run as working

    _print_picture(call, running)
    _say_how_to_go_on(call, running)
    call.out.text("")
    call.out.text("Changes as they arrive (Ctrl-C ends it):")
    printing = threading.Lock()
    next_picture = time.monotonic() + _PICTURE_EVERY_SECONDS

    def changed(_: "Progress", applied: Any) -> None:
        nonlocal next_picture
        with printing:
            for event in applied.happened if applied is not None else ():
                call.out.text(f"  {_line(event)}")
            if applied is not None and applied.happened and time.monotonic() >= next_picture:
                next_picture = time.monotonic() + _PICTURE_EVERY_SECONDS
                threading.Thread(target=_print_locked, args=(call, running, printing), daemon=True).start()

    def ready(url: str) -> None:
        call.out.note(f"SQL is answered at {url}/api/sql.")
        running.keep_happening(_SECONDS_BETWEEN_CHANGES, lambda _sentence: None)
        running.keep_using(url, _SECONDS_BETWEEN_CHANGES)

    working.run(running.settings, working.Role.ALL, on_change=changed, on_ready=ready)
    call.out.note(f"The demo has ended. What it found out stays in {running.config.parent} until the next one.")


def _print_locked(call: Call, running: "Demo", printing: threading.Lock) -> None:
    views = running.picture()
    with printing:
        _print_views(call, running.config, views)


def _print_picture(call: Call, running: "Demo") -> None:
    _print_views(call, running.config, running.picture())


def _print_views(call: Call, config: Path, views: "list[View]") -> None:
    for view in views:
        call.out.text("")
        call.out.text(f"== {view.title} ==")
        asked = [f"{view.command} --config {config}"] if view.command else view.sql.splitlines()
        for line in asked:
            call.out.text(f"  {line}")
        call.out.text("")
        if len(view.rows) == 1:
            width = max(map(len, view.rows[0]))
            for name, value in view.rows[0].items():
                call.out.text(f"{name:<{width}}  {_cell(value)}")
        elif view.rows:
            call.out.table(list(view.rows[0]), view.rows[:_ROWS_SHOWN] if view.command else view.rows)


def _say_how_to_go_on(call: Call, running: "Demo") -> None:
    call.out.text("")
    call.out.text("Ask more (in another terminal while the demo runs, or after it):")
    call.out.text(
        f'  headrace sql --config {running.config} "select name, count(*) from events group by 1 order by 2 desc"'
    )
    call.out.text(f"  headrace status --config {running.config}")
    call.out.text(f"  headrace streams tail --start 0 --count 5 --config {running.config}")


def _line(event: dict[str, Any]) -> str:
    """Say an event in one line: when, what, of what, and what changed."""
    from integration.core import exactjson

    told = event["properties"]
    properties = exactjson.loads(told) if isinstance(told, bytes | str) else told
    changes = ", ".join(
        f"{c['field']}: {_cell(c['old'])} -> {_cell(c['new'])}" for c in properties.get("changes", ())[:3]
    )
    name = properties.get("name") or event["record_id"] or event["user_id"]
    return visible(f"{event['time'][11:19]}  {event['name']:<26} {name}" + (f"  ({changes})" if changes else ""))


def _cell(value: Any) -> str:
    from integration.cli.output import cell

    shown = visible(cell(value))
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _told(told: dict[str, int]) -> str:
    biggest = sorted(told.items(), key=lambda pair: -pair[1])
    parts = [f"{count:,} {name}" for name, count in biggest if not name.endswith("History") and count][:6]
    return ", ".join(parts)
