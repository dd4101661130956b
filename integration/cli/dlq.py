"""`headrace dlq`: what was given up, and what is to become of it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.entries import Stream, Where, filter_of, unmet
from integration.cli.frame import Call, command, group
from integration.cli.options import Form, JsonLines, form
from integration.cli.output import ago, indented
from integration.errors import UsageError

if TYPE_CHECKING:
    from integration.stream.conditions import Filter
    from integration.stream.connection import Client
    from integration.stream.dead import Buried

_ENV = ("HEADRACE_REDIS__URL",)
_SHOWN = 100
_COLUMNS = ("stream", "offset", "subject", "reason", "first", "last", "deliveries")


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter without any value of its entry.

    `offset` is the one that the entry had in its stream, `dead_offset` the one it has among the dead; `subject` the
    record, masked where it may be something else; `ours` is False for an entry that headrace did not write.
    """

    stream: str
    offset: str
    dead_offset: str
    subject: str | None
    reason: str
    first_tried_at: str
    last_tried_at: str
    deliveries: int
    ours: bool


@dataclass(frozen=True, slots=True)
class LetterShown(LetterRow):
    """A dead letter with its entry; if `masked`, with ******** for what may be personal."""

    masked: bool
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SettledLetter:
    """A dead letter that was put back or dropped; `new_offset` is where it was put, None if it was not."""

    offset: str
    dead_offset: str
    new_offset: str | None = None


@dataclass(slots=True)
class Settlement:
    """What became of dead letters; `left` counts those with which nothing was done."""

    stream: str
    dry_run: bool
    letters: list[SettledLetter] = field(default_factory=list)
    left: int = 0


Offsets = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OFFSET]...", help="Letters, by the offset of the entry in its stream or among the dead."),
]
Every = Annotated[bool, typer.Option("--all", help="All dead letters of the stream.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")]


def register(app: typer.Typer) -> None:
    """Add the group `dlq`."""
    added = group(app, "dlq", "Look at dead letters, put them back, or drop them.")
    command(added, "ls", example="headrace dlq ls", env=_ENV)(ls)
    command(added, "show", example="headrace dlq show crm.contact 1795339765223-0", env=_ENV)(show)
    command(added, "retry", example="headrace dlq retry crm.contact --all --dry-run", env=_ENV)(retry)
    command(added, "drop", example="headrace dlq drop crm.contact --where 'reason~=not a capture' --yes", env=_ENV)(
        drop
    )


def ls(
    call: Call,
    stream: Annotated[str | None, typer.Argument(help="Only those of this stream, such as crm.contact.")] = None,
    where: Where = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, help="The newest so many of each stream; a table shows 100 unless told."),
    ] = None,
    jsonl: JsonLines = False,
) -> None:
    """List dead letters: where each entry lay, of which record, why it was given up. Never its values."""
    wanted = form(json=call.json, jsonl=jsonl)
    filtered = filter_of(where)
    most = count or (_SHOWN if wanted is Form.TABLE else None)
    settings = call.settings
    from integration.stream import find
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        streams = [_alive(reached.client, stream)] if stream else find.dead_streams(reached.client)
        letters = (one for name in streams for one in _newest(call, reached.client, name, filtered, most))
        if wanted is Form.JSON_LINES:
            call.out.lines(_row(call, one) for one in letters)
            return
        rows = [_row(call, one) for one in letters]
    if wanted is Form.JSON:
        call.out.document(rows)
    elif rows:
        now = datetime.now(UTC)
        times = [{"first": ago(row.first_tried_at, now), "last": ago(row.last_tried_at, now)} for row in rows]
        call.out.table(_COLUMNS, [asdict(row) | time for row, time in zip(rows, times, strict=True)])
    if not rows:
        call.out.note(unmet(filtered) if filtered and filtered.looked_at else _none(stream))


def show(
    call: Call,
    stream: Stream,
    offset: Annotated[str, typer.Argument(help="Offset of the entry in its stream, or among the dead.")],
    unmask: Annotated[bool, typer.Option("--unmask", help="Show the values of the entry, personal data too.")] = False,
) -> None:
    """Show one dead letter with its whole entry; values are masked unless told otherwise.

    Ids, times, booleans, null and what headrace wrote about the record itself are not masked.
    """
    settings = call.settings
    from integration.stream import find
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        (one,) = find.find_letters(reached.client, _alive(reached.client, stream), [offset])
    shown = LetterShown(**asdict(_row(call, one)), masked=not unmask, entry=_entry(one, unmask=unmask))
    if call.json:
        call.out.document(shown)
        return
    call.out.text(f"{shown.stream} {shown.offset}  {shown.subject or '-'}")
    call.out.text(f"reason      {shown.reason}")
    call.out.text(f"tried       {shown.first_tried_at} to {shown.last_tried_at}, deliveries: {shown.deliveries}")
    call.out.text(f"kept as     {shown.stream}.dead {shown.dead_offset}")
    for line in indented(shown.entry):
        call.out.text(line)
    if not unmask:
        call.out.note("Values are masked: --unmask shows them.")


def retry(
    call: Call,
    stream: Stream,
    offsets: Offsets = None,
    every: Every = False,
    where: Where = None,
    dry_run: DryRun = False,
) -> None:
    """Put dead letters back at the end of their stream, to be tried again.

    What fails again is a new dead letter. Letters that headrace did not write stay where they are.
    """
    chosen = _Choice.of(stream, offsets, where, every=every)
    settings = call.settings
    from integration.stream import dead
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        client, name = reached.client, _alive(reached.client, stream)
        result = Settlement(name, dry_run)
        for page in chosen.pages(client, name):
            _refuse_strangers(name, page, chosen)
            ours = [(one, None) for one in page if one.ours]
            done = ours if dry_run else dead.retry_dead(client, page)
            result.letters += [SettledLetter(one.letter.offset, one.dead_offset, new) for one, new in done]
            result.left += len(page) - len(done)
    _say(call, chosen, result, "would be put back" if dry_run else "put back at the end of the stream")
    if result.left:
        call.out.note(f"{_letters(result.left)} stayed: gone meanwhile, or not written by headrace.")
    if result.letters and not dry_run:
        call.out.note(
            "A running consumer takes them up now; without one, `headrace sync` does. What fails again is a new dead "
            f"letter: look with `headrace dlq ls {name}`."
        )


def drop(
    call: Call,
    stream: Stream,
    offsets: Offsets = None,
    every: Every = False,
    where: Where = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good. Asks first; without a terminal it needs --yes."""
    chosen = _Choice.of(stream, offsets, where, every=every)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise UsageError("What is dropped is gone for good, and there is no terminal to ask at: give --yes.")
    settings = call.settings
    from integration.stream import dead
    from integration.wiring.streams import existing_streams

    with existing_streams(settings) as reached:
        client, name = reached.client, _alive(reached.client, stream)
        result = Settlement(name, dry_run)
        if not (yes or dry_run):
            count = sum(map(len, chosen.pages(client, name)))
            if not count:
                _say(call, chosen, result, "dropped")
                return
            if not _agreed(call, f"Drop {_letters(count)} of {name} for good?"):
                call.out.note("Nothing was dropped.")
                return
        for page in chosen.pages(client, name):
            done = page if dry_run else dead.drop_dead(client, page)
            result.letters += [SettledLetter(one.letter.offset, one.dead_offset) for one in done]
            result.left += len(page) - len(done)
    _say(call, chosen, result, "would be dropped" if dry_run else "dropped")
    if result.left:
        call.out.note(f"{_letters(result.left)}: gone meanwhile.")
    if result.letters and not dry_run:
        call.out.note("Their records come again when they change.")


@dataclass
class _Choice:
    """Which letters are meant: those at offsets, else all or those that are wanted."""

    offsets: Sequence[str]
    wanted: "Filter | None"
    end: str | None = None

    @classmethod
    def of(cls, stream: str, offsets: list[str] | None, where: list[str] | None, *, every: bool) -> "_Choice":
        """Read the words of the command. Raises UsageError."""
        if offsets and (every or where):
            raise UsageError("OFFSET names single letters, --all and --where many: give one or the other.")
        if not (offsets or every or where):
            raise UsageError(
                f"Say which: offsets (`headrace dlq ls {stream}` lists them), --where with a condition, or --all."
            )
        return cls(offsets or [], filter_of(where))

    def pages(self, client: "Client", stream: str) -> "Iterator[list[Buried]]":
        """Give the letters, a page at a time; what becomes a dead letter after the first look is not among them."""
        from integration.stream import find

        if self.offsets:
            yield find.find_letters(client, stream, self.offsets)
            return
        self.end = self.end or find.newest_dead(client, stream)
        if self.end is not None:
            yield from find.dead_letters(client, stream, last=self.end, wanted=self.wanted)


def _alive(client: "Client", name: str) -> str:
    """Return the stream whose letters are meant. Raises UsageError where there is neither a stream nor letters."""
    from integration.stream import inspect
    from integration.stream.names import alive_of, dead_of

    stream = alive_of(name)
    if not inspect.exists(client, dead_of(stream)):
        inspect.require_stream(client, stream)
    return stream


def _newest(call: Call, client: "Client", stream: str, wanted: "Filter | None", most: int | None) -> "Iterator[Buried]":
    """Give the letters of a stream in its order; if not all are asked for, the newest."""
    from integration.stream import dead, find

    if most is None:
        for page in find.dead_letters(client, stream, wanted=wanted):
            yield from page
        return
    found: list[Buried] = []
    for page in find.dead_letters(client, stream, newest_first=True, wanted=wanted):
        found += page
        if len(found) >= most:
            total = dead.dead_count(client, stream)
            if total > most:
                which = f"the newest {most:,} that fit" if wanted else f"the newest {most:,}"
                call.out.note(f"{stream} has {total:,} dead letters; these are {which}, --count N shows more.")
            break
    yield from reversed(found[:most])


def _row(call: Call, one: "Buried") -> LetterRow:
    from integration.stream.veil import veiled_subject

    letter = one.letter
    return LetterRow(
        stream=letter.stream,
        offset=letter.offset,
        dead_offset=one.dead_offset,
        subject=veiled_subject(one.subject),
        reason=call.mask(letter.reason),
        first_tried_at=letter.first_tried_at,
        last_tried_at=letter.last_tried_at,
        deliveries=letter.deliveries,
        ours=one.ours,
    )


def _entry(one: "Buried", *, unmask: bool) -> dict[str, Any]:
    from integration.core import exactjson
    from integration.stream.veil import veiled

    entry: dict[str, Any] = dict(one.letter.fields)
    with suppress(KeyError, ValueError, ArithmeticError, RecursionError):
        entry["data"] = exactjson.loads(entry["data"])
    return entry if unmask else dict(veiled(entry))


def _refuse_strangers(stream: str, page: "list[Buried]", chosen: _Choice) -> None:
    strangers = [one.dead_offset for one in page if not one.ours]
    if strangers and chosen.offsets:
        raise UsageError(
            f"{', '.join(strangers)} in {stream}.dead was not written by headrace and can't be put back: `headrace dlq "
            f"drop {stream} {' '.join(strangers)}` deletes it."
        )


def _say(call: Call, chosen: _Choice, result: Settlement, done: str) -> None:
    if call.json:
        call.out.document(result)
    elif result.letters or result.left:
        call.out.text(f"{_letters(len(result.letters))} of {result.stream} {done}.")
    elif chosen.wanted and chosen.wanted.looked_at:
        call.out.note(unmet(chosen.wanted))
    else:
        call.out.note(_none(result.stream))


def _agreed(call: Call, question: str) -> bool:
    call.out.note(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _none(stream: str | None) -> str:
    return f"{stream} has no dead letters." if stream else "There are no dead letters."


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"
