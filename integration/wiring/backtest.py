"""`headrace health backtest`: what a health would have said of accounts before they were won, lost or churned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from consumers.members import Defined, version
from integration.core.efficacy import OUTCOMES, Efficacy, Judged, efficacy
from integration.errors import ConfigError, UsageError
from integration.settings import Settings
from integration.store import answers
from integration.store.answers import ask
from integration.store.definitions.backtest import Past, among_events, backtest_select, looks
from integration.store.definitions.book import Book
from integration.store.definitions.conditions import Ref
from integration.store.protocol import Reader
from integration.wiring import as_of, definitions, reading
from integration.wiring.catalog import raw_columns
from schemas.definitions import Health, Outcomes

_FIELDS: Final = "SELECT object, field, property FROM headrace.properties WHERE prefix_object = object"
_HISTORY: Final = """
SELECT object, field, min("time") AS since FROM changes WHERE origin = 'history' GROUP BY object, field
"""
_PLACE: Final = ("Contact", "AccountId")
"""The field that says to which account a person belongs."""

Key = tuple[str, str, str]
"""(account id, outcome, time)."""
Rows = Mapping[Key, dict[str, Any]]
"""A row for each outcome, as `backtest_select` gives them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: how many days before an outcome, of outcomes since a time (ISO 8601 UTC), in at most so long."""

    days: int
    since: str | None = None
    timeout_seconds: float = 300


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How many outcomes of a kind there were, and of how many it can be said what the score was before."""

    outcome: str
    happened: int
    not_known: int
    """Of which something that the score looks at was not known yet, nor is told by field history."""
    not_scored: int
    """Of which the account was not there yet, or not among those that are scored."""
    counted: int


@dataclass(frozen=True, slots=True)
class Backtest:
    """A health measured by what became of accounts; `candidate` is the one of a file, `in_force` that of the folder."""

    health: str
    lead_days: int
    since: str | None
    outcomes: Sequence[OutcomeCount]
    in_force: Efficacy | None
    candidate: Efficacy | None
    problem: str | None = field(default=None)
    """Why the one in force can't be measured."""


def backtest(settings: Settings, name: str, asked: Asked, file: Path | None = None) -> Backtest:
    """Measure a health, and beside it the candidate in a file: both by the same outcomes, those of the candidate.

    Raises UsageError for a name that none has, ConfigError for what can't be measured.
    """
    defined, ref = definitions.read(settings) or Defined(), Ref("health", name)
    known = [defined.definitions.get(ref), None if file is None else definitions.read_file("health", file)]
    in_force, candidate = (one if isinstance(one, Health) else None for one in known)
    if candidate is None:
        definitions.usable(defined, name, "health")
    outcomes = next(one.outcomes for one in (candidate, in_force) if one is not None)
    found: dict[str, tuple[str, Rows]] = {}
    problem = None

    def measure(kind: str, one: Health) -> None:
        problems = {other: told for other, told in defined.problems.items() if other != ref}
        each = replace(defined, definitions={**defined.definitions, ref: one}, problems=problems)
        found[kind] = version(one), judged(store, each, ref, outcomes, asked)

    with reading.reader(settings) as store:
        if candidate is not None:
            measure("candidate", candidate)
        try:
            if in_force is not None:
                measure("in_force", in_force)
        except ConfigError as error:
            if candidate is None:
                raise
            problem = str(error)
    return _measured(name, asked, found, problem)


def judged(store: Reader, defined: Defined, ref: Ref, outcomes: Outcomes, asked: Asked) -> Rows:
    """Return what a health would have said before each outcome. Raises ConfigError for what can't be measured."""
    book, _ = definitions.usable(defined, ref.name, ref.kind)
    try:
        sql = backtest_select(book, ref, outcomes, _past(store, book, ref), asked.days, asked.since)
    except (ConfigError, UsageError) as error:
        raise ConfigError(f"The past of the {ref} can't be worked out. {error}") from error
    rows = answers.rows(store.query(store.compiled(sql), timeout_seconds=asked.timeout_seconds))
    return {(row["account_id"], row["outcome"], row["time"]): row for row in rows}


def _past(store: Reader, book: Book, ref: Ref) -> Past:
    """Find out what the store knows of the past of what a definition looks at."""
    looked = looks(book, ref)
    asked = {of: as_of.asked(store, sorted(names)) if names else [] for of, names in looked.properties.items()}
    people = looked.people or _without_account(store, looked.events)
    properties = {name for names in looked.properties.values() for name in names}
    fields = {(row["object"], row["field"]) for row in ask(store, _FIELDS) if row["property"] in properties}
    history = {(row["object"], row["field"]): row["since"] for row in ask(store, _HISTORY)}
    if people:
        fields.add(_PLACE)
    columns = answers.columns(store.query(store.compiled("SELECT * FROM salesforce.account"), limit=0))
    dated = "createddate" in {column["name"].lower() for column in columns}
    return Past(asked, people, [history.get(key) for key in sorted(fields)], dated, raw_columns(store))


def _without_account(store: Reader, names: set[str]) -> bool:
    """Tell whether some of these events name no account, but a person alone."""
    return bool(ask(store, f"SELECT event_id FROM events WHERE account_id IS NULL AND {among_events(names)}", limit=1))


def _measured(name: str, asked: Asked, found: Mapping[str, tuple[str, Rows]], problem: str | None) -> Backtest:
    """Count and measure by those outcomes alone before which every definition had a score."""
    each = [rows for _, rows in found.values()]
    unknown = {key for rows in each for key, row in rows.items() if not row["known"]}
    unscored = {key for rows in each for key, row in rows.items() if row["score"] is None} - unknown
    happened = Counter(outcome for _, outcome, _ in each[0])
    not_known, not_scored = (Counter(outcome for _, outcome, _ in keys) for keys in (unknown, unscored))
    counts = [
        OutcomeCount(
            one, happened[one], not_known[one], not_scored[one], happened[one] - not_known[one] - not_scored[one]
        )
        for one in OUTCOMES
    ]
    measured = {
        kind: efficacy(
            told,
            [
                Judged(row["outcome"], Decimal(row["score"]), row["state"] == "at risk")
                for key, row in rows.items()
                if key not in unknown | unscored
            ],
        )
        for kind, (told, rows) in found.items()
    }
    return Backtest(name, asked.days, asked.since, counts, measured.get("in_force"), measured.get("candidate"), problem)
