"""What the commands about entries have in common: conditions, times, and how an entry is printed."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from integration.cli.frame import Call
from integration.cli.options import Form
from integration.cli.output import indented
from integration.errors import UsageError

if TYPE_CHECKING:
    from integration.stream.conditions import Filter
    from integration.stream.entry import EntryView

Stream = Annotated[str, typer.Argument(help="Name of a stream, such as crm.contact.")]
Type = Annotated[str | None, typer.Option("--type", metavar="GLOB", help="Only such types: 'opportunity.*'.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only entries that fulfil it: FIELD=VALUE (with * for anything), !=, ~= (contains), and > >= < <= for "
        "numbers and times; FIELD is one of the record, of the entry (subject, origin), or data.fields.NAME. "
        "Repeatable: all must hold.",
    ),
]


def filter_of(where: Sequence[str] | None, kind: str | None = None) -> "Filter | None":
    """Return what --where and --type ask for, None if they ask for nothing. Raises UsageError."""
    if not where and kind is None:
        return None
    from integration.stream.conditions import Filter, parse_condition

    now = datetime.now(UTC)
    try:
        return Filter([parse_condition(condition, now) for condition in where or ()], kind)
    except ValueError as error:
        raise UsageError(f"--where {error}") from None


def moment(option: str, text: str) -> datetime:
    """Return the time that an option gives. Raises UsageError."""
    from integration.core.times import parse_time

    try:
        return parse_time(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def unmet(wanted: "Filter") -> str:
    """Say that nothing fits, and which fields nothing had."""
    sentence = f"None of the {wanted.looked_at:,} entries looked at fits."
    return " ".join([sentence, *(f"No entry has a field {field}." for field in wanted.unmet)])


def print_entries(call: Call, entries: "Iterable[EntryView]", wanted: Form) -> None:
    """Print entries: a line each, or as JSON."""
    if wanted is Form.JSON:
        call.out.document(list(entries))
    elif wanted is Form.JSON_LINES:
        call.out.lines(entries)
    else:
        for entry in entries:
            call.out.text(_line(entry))


def print_whole(call: Call, entry: "EntryView") -> None:
    """Print an entry with all that is in it."""
    call.out.text(_line(entry))
    for line in indented(entry.raw if entry.data is None else entry.data):
        call.out.text(line)


def short_type(kind: str | None) -> str | None:
    """Return a type as people say it, None where there is none."""
    from integration.stream import entry

    return entry.short_type(kind) if kind else None


def _line(entry: "EntryView") -> str:
    parts = (
        _clock(entry),
        short_type(entry.type) or "-",
        entry.subject or "-",
        entry.origin or "-",
        f"[{entry.stream} {entry.offset}]",
        entry.note,
    )
    return "  ".join(part for part in parts if part)


def _clock(entry: "EntryView") -> str:
    return entry.at[11:19] if entry.at else "-"
