"""Who is in which audience, persona, stage and cohort, from when until when; and how healthy each account is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from typing import Any, Final

import structlog

from integration.core import exactjson
from integration.errors import ConfigError, FencedError, RunError
from integration.store import tables
from integration.store.definitions.book import Book, bound, resting_on
from integration.store.definitions.conditions import Ref, put_into_sql
from integration.store.definitions.needs import Org
from integration.store.definitions.notices import notice
from integration.store.definitions.scoring import most
from integration.store.definitions.statements import (
    Statement,
    changed,
    ended,
    missing,
    parameters,
    statement,
    versions_dealt,
)
from integration.store.projection import Shape
from integration.store.protocol import Transaction
from schemas.definitions import Cohort, Definition, Funnel, Health

log = structlog.get_logger()

_KEY: Final = ("kind", "name", "member_id", "since")
_OPEN: Final = (
    "SELECT kind, name, subject, member_id, value, score, since, version, reasons FROM members "
    "WHERE kind = ? AND name = ? AND member_id = any(?) AND until IS NULL"
)
_ALL_OPEN: Final = "SELECT DISTINCT kind, name FROM members WHERE until IS NULL"
_MEMBERS: Final = "SELECT member_id FROM members WHERE kind = ? AND name = ? AND until IS NULL"
_SIZE: Final = "SELECT count(*) AS size FROM members WHERE kind = ? AND name = ? AND until IS NULL"
_VERSIONS: Final = "SELECT * FROM definitions WHERE until IS NULL"
# Ids that are somebody else's now, where that one has no stays yet, or theirs has not ended.
_HANDED_OVER: Final = """
SELECT DISTINCT m.member_id, i.user_id
FROM members AS m
JOIN identities AS i ON i.alias = m.member_id
LEFT JOIN (SELECT DISTINCT kind, name, member_id FROM members) AS h
    ON h.kind = m.kind AND h.name = m.name AND h.member_id = i.user_id
WHERE m.subject = 'user' AND i.user_id <> m.member_id AND (m.until IS NULL OR h.member_id IS NULL)
"""
_ALL_OF: Final = "SELECT * FROM members WHERE member_id = any(?)"
_REFUSED: Final = "The store refused a batch: "
REMOVED: Final = "definition removed"
MERGED: Final = "same person as another"


@dataclass(frozen=True, slots=True)
class Defined:
    """What the folder of definitions holds."""

    definitions: Mapping[Ref, Definition] = field(default_factory=dict)
    lists: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Name of a list -> (kind of key, key) of whom it holds."""
    problems: Mapping[Ref, str] = field(default_factory=dict)
    """A sentence for each file that can't be read."""
    named_by: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Name of a list -> the kinds of keys that it has columns for."""

    def bound(self) -> tuple[Book, dict[Ref, str]]:
        """Return what can be used, and a sentence for each of the others."""
        book, wrong = bound(self.definitions, self.lists, self.named_by)
        return book, {**wrong, **self.problems}


@dataclass(slots=True)
class Ran:
    """What a run of all definitions came to."""

    sizes: dict[Ref, int] = field(default_factory=dict)
    came: dict[Ref, int] = field(default_factory=dict)
    went: dict[Ref, int] = field(default_factory=dict)
    problems: dict[Ref, str] = field(default_factory=dict)
    """A sentence for each that was left as it was."""


class Members:
    """Works all definitions out, in one transaction of the store's present owner: they all tell of one moment."""

    def __init__(
        self, transaction: Callable[[], AbstractContextManager[Transaction]], shape: Shape, now: Callable[[], str]
    ) -> None:
        self._begin = transaction
        self._shape = shape
        self._now = now

    def refresh(self, defined: Defined) -> Ran:
        """Bring `members` up to date with what the definitions say now.

        A definition that can't be worked out, and what rests on it, stays as it was, with a sentence that says why.
        Raises what the store raises.
        """
        book, wrong = defined.bound()
        while True:
            ran = Ran(problems=dict(wrong))
            running: Ref | None = None
            try:
                with self._begin() as tx:
                    now = self._now()
                    _keep_lists(tx, defined.lists)
                    _hand_over(tx, now)
                    for running, one in book.definitions.items():
                        if not isinstance(one, Funnel):
                            self._work_out(tx, book, running, now, ran)
                    running = None
                    _end_removed(tx, {*defined.definitions, *wrong}, now, ran)
                    _note_versions(tx, defined.definitions, self._shape.columns, now, ran)
            except FencedError:
                raise
            except (RunError, ConfigError) as error:
                if running is None:
                    raise
                wrong[running] = _sentence(error)
                log.warning(
                    "a definition can't be worked out", kind=running.kind, name=running.name, detail=wrong[running]
                )
                book = book.without([running])
                wrong |= dict.fromkeys(
                    (ref for ref in defined.definitions if ref not in book.definitions and ref not in wrong),
                    resting_on([running]),
                )
            else:
                return ran

    def _work_out(self, tx: Transaction, book: Book, ref: Ref, now: str, ran: Ran) -> None:
        one = book.definitions[ref]
        said = statement(book, ref, self._shape.columns)
        if isinstance(one, Cohort):
            came, went = _dealt(_ask(tx, missing(said), now), ref, _phases(tx, ref, one)), []
        else:
            came, went = _ask(tx, changed(said), now), _ask(tx, ended(said), now)
        touched = {row["member_id"] for row in (*came, *went)}
        kept = (
            {row["member_id"]: row for row in tx.rows(_OPEN, [ref.kind, ref.name, sorted(touched)])} if touched else {}
        )
        entering = [_row(ref, one, said, row, kept.get(row["member_id"]), now) for row in came]
        ending = [_closed(kept[row["member_id"]], now, row["ended_because"] or "does not fit") for row in went]
        ending += [
            _closed(kept[row["member_id"]], now, "another value")
            for row in entering
            if row["member_id"] in kept and kept[row["member_id"]]["since"] != row["since"]
        ]
        if rows := [*ending, *entering]:
            tx.upsert("members", _KEY, tables.MEMBERS, rows)
        if isinstance(one, Health):
            _keep_contributions(tx, ref, one, said, came, touched)
        ran.sizes[ref] = tx.rows(_SIZE, [ref.kind, ref.name])[0]["size"]
        ran.came[ref] = sum(row["member_id"] not in kept for row in entering)
        ran.went[ref] = len(went)


def _ask(tx: Transaction, sql: str, now: str) -> list[dict[str, Any]]:
    with put_into_sql():
        return tx.rows(sql, [now] * parameters(sql))


def _sentence(error: Exception) -> str:
    what = str(error).removeprefix(_REFUSED)
    told = what if what == str(error) else f"The store can't work it out: {what}"
    return told if told.endswith((".", "?", "!")) else f"{told}."


def _row(
    ref: Ref, one: Definition, said: Statement, row: Mapping[str, Any], kept: Mapping[str, Any] | None, now: str
) -> dict[str, Any]:
    since = now
    if kept is not None and kept["value"] == row["value"] and str(kept["since"])[:10] == now[:10]:
        # A score is kept once a day, as it was at the end of it.
        since = kept["since"]
    return {
        "kind": ref.kind,
        "name": ref.name,
        "subject": one.of,
        "member_id": row["member_id"],
        "value": row["value"],
        "score": row["score"],
        "since": since,
        "until": None,
        "version": version(one),
        "reasons": exactjson.dumps({name: row[column] for column, name in said.reasons}),
        "ended_because": None,
    }


def _closed(kept: Mapping[str, Any], now: str, because: str) -> dict[str, Any]:
    return {**kept, "until": now, "ended_because": because}


def version(one: Definition) -> str:
    """Return what is another when a definition says something else."""
    return blake2b(_body(one).encode(), digest_size=6).hexdigest()


def _body(one: Definition) -> str:
    # What is as without a word is left out: a key that a later headrace knows makes no new version.
    return one.model_dump_json(exclude_defaults=True)


def number(*words: str) -> float:
    """Return a number from 0 to below 1 that is always the same for these words, and for others any other."""
    digest = blake2b("\0".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def phases(history: Iterable[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Return the shares by which arms have grown to those of now, oldest first: since one last shrank.

    `history` are the shares (arm -> share of all) that a cohort has had, those of now last.
    """
    found: list[Mapping[str, float]] = []
    for arms in history:
        if found and any(arms.get(arm, 0) < share for arm, share in found[-1].items()):
            found = []
        if not found or found[-1] != arms:
            found.append(arms)
    return found


def arm_of(cohort: str, grown: Sequence[Mapping[str, float]], member_id: str) -> str | None:
    """Return the arm that a member gets at these shares, or None while they leave it out.

    `grown` are the shares as they have grown, those of now last (see `phases`). Whoever would have had an arm before
    has it still, and what an arm has grown by it gets from those who had none: so each has its share of all.
    """
    place = number(cohort, "share", member_id)
    before: Mapping[str, float] = {}
    for arms in grown:
        if place < sum(arms.values()):
            more = {arm: share - before.get(arm, 0) for arm, share in arms.items() if share > before.get(arm, 0)}
            return _dealt_to(more, number(cohort, "arm", member_id))
        before = arms
    return None


def _dealt_to(shares: Mapping[str, float], chance: float) -> str:
    place = chance * sum(shares.values())
    for arm, share in shares.items():
        if place < share:
            return arm
        place -= share
    return [*shares][-1]  # what floats leave over


def _dealt(rows: Iterable[Mapping[str, Any]], ref: Ref, grown: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    arms = ({**row, "value": arm_of(ref.name, grown, row["member_id"])} for row in rows)
    return [row for row in arms if row["value"] is not None]


def _phases(tx: Transaction, ref: Ref, one: Cohort) -> list[Mapping[str, float]]:
    return grown([row["body"] for row in tx.rows(versions_dealt(ref))], one)


def grown(bodies: Iterable[str], one: Cohort) -> list[Mapping[str, float]]:
    """Return the shares by which the arms of a cohort have grown; `bodies` are those of its versions, oldest first."""
    told = (exactjson.loads(body)["arms"] for body in bodies)
    return phases([*({arm: float(share) for arm, share in arms.items()} for arms in told), one.arms])


def _hand_over(tx: Transaction, now: str) -> None:
    """Have the stays of ids that have become somebody else's (converted, merged, signed in) follow their people.

    They become that one's as they are, arms included; where that one has stays of the same definition, those count,
    and the others end.
    """
    heirs = {row["member_id"]: row["user_id"] for row in tx.rows(_HANDED_OVER)}
    if not heirs:
        return
    rows = tx.rows(_ALL_OF, [sorted({*heirs, *heirs.values()})])
    first: dict[tuple[str, str, str], tuple[bool, str, str]] = {}
    for row in rows:
        own = row["member_id"] not in heirs
        place = row["kind"], row["name"], heirs.get(row["member_id"], row["member_id"])
        first[place] = min(first.get(place, (True, "~", "")), (not own, row["since"], row["member_id"]))
    written = []
    for row in rows:
        heir = heirs.get(row["member_id"])
        if heir is None:
            continue
        if row["subject"] == "user" and first[row["kind"], row["name"], heir][2] == row["member_id"]:
            written.append({**row, "member_id": heir})
        else:
            written.append(_closed(row, now, MERGED) if row["until"] is None and row["subject"] == "user" else row)
    tx.delete("members", "member_id", sorted(heirs))
    tx.upsert("members", _KEY, tables.MEMBERS, written)


def _keep_lists(tx: Transaction, lists: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    there = {row["list_name"] for row in tx.rows("SELECT DISTINCT list_name FROM headrace.lists")}
    rows = [
        {"list_name": name, "kind": kind, "value": value}
        for name, keys in lists.items()
        for kind, value in sorted({*keys})
    ]
    if names := {*lists} | there:
        tx.make_equal("headrace.lists", "list_name", names, tables.LISTS, rows)


def _keep_contributions(
    tx: Transaction, ref: Ref, one: Health, said: Statement, came: Iterable[Mapping[str, Any]], touched: Iterable[str]
) -> None:
    """Have stored what each metric adds to these scores; of accounts that have none any more, nothing."""
    whole = most(one)
    rows = [
        {
            "score_id": _score_id(ref, row["member_id"]),
            "health": ref.name,
            "account_id": row["member_id"],
            "metric": name,
            "contribution": row[column],
            "most": whole[name],
        }
        for row in came
        for column, name in said.reasons
    ]
    ids = [_score_id(ref, account_id) for account_id in sorted(touched)]
    tx.make_equal("health_contributions", "score_id", ids, tables.CONTRIBUTIONS, rows)


def _score_id(ref: Ref, account_id: str) -> str:
    return f"{ref.name}/{account_id}"


def _end_removed(tx: Transaction, known: set[Ref], now: str, ran: Ran) -> None:
    """End what is stored of definitions that are there no more."""
    for row in tx.rows(_ALL_OPEN):
        ref = Ref(row["kind"], row["name"])
        if ref in known:
            continue
        members = [row["member_id"] for row in tx.rows(_MEMBERS, [*ref])]
        rows = [_closed(kept, now, REMOVED) for kept in tx.rows(_OPEN, [*ref, members])]
        tx.upsert("members", _KEY, tables.MEMBERS, rows)
        if ref.kind == "health":
            tx.delete("health_contributions", "health", [ref.name])
        ran.went[ref] = len(rows)


def _note_versions(tx: Transaction, definitions: Mapping[Ref, Definition], org: Org, now: str, ran: Ran) -> None:
    """Note which version of each definition is in force, how its last run went, and what is to be known of it."""
    there = {Ref(row["kind"], row["name"]): row for row in tx.rows(_VERSIONS)}
    rows = []
    for ref, one in definitions.items():
        before = there.pop(ref, None)
        since, worked = now, {"run_at": None, "size": None}
        if before is not None and before["version"] == version(one):
            since, worked = before["since"], {name: before[name] for name in worked}
        elif before is not None:
            rows.append({**before, "until": now})
        rows.append(
            {
                "kind": ref.kind,
                "name": ref.name,
                "version": version(one),
                "title": one.title,
                "since": since,
                "until": None,
                "body": _body(one),
                # Of what can't be worked out its members stay, and so does what is told of the run they are of.
                **(worked if ref in ran.problems else {"run_at": now, "size": ran.sizes.get(ref)}),
                "problem": ran.problems.get(ref),
                "notice": None if ref in ran.problems else notice(one, org, _day(since), _day(now)),
            }
        )
    for ref, row in there.items():
        # A file that can't be read leaves in force what it said before.
        spoilt = {"problem": ran.problems[ref]} if ref in ran.problems else {"until": now}
        rows.append({**row, **spoilt})
    if rows:
        tx.upsert("definitions", ("kind", "name", "since"), tables.DEFINITIONS, rows)


def _day(time: Any) -> date:
    return date.fromisoformat(str(time)[:10])
