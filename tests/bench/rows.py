"""The rows of the bench, one function each: what is done, by headrace and by the plain script, and what it costs."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from bed import Bed, Worker
from costs import Cost
from org import Org

MIX = {"Contact": 2_500, "Account": 300, "Opportunity": 800, "Lead": 300}
"""The 3,900 changes: how many records of each object are edited."""

CROWD = 10_000
"""People of one account."""


@dataclass
class Row:
    """One line of the table.

    records  how many the work is about; rows/s and cost per record follow from it
    runs     its cost, once for each round; the median is shown
    against  the row of the plain script that does the same
    """

    name: str
    records: int | None = None
    runs: list[Cost] = field(default_factory=list)
    against: "Row | None" = None

    @property
    def cost(self) -> Cost:
        """The run with the median CPU seconds."""
        ordered = sorted(self.runs, key=lambda cost: cost.cpu)
        return ordered[len(ordered) // 2]

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return median(cost.cpu for cost in self.runs)

    @property
    def ratio(self) -> float | None:
        """How many times the CPU of the plain script."""
        return self.cpu / self.against.cpu if self.against is not None else None


def scaled(counts: dict[str, int], scale: float) -> dict[str, int]:
    """Return the counts for an org of another size, at least one of each."""
    return {name: max(1, round(count * scale)) for name, count in counts.items()}


def first(beds: Sequence[Bed], name: str = "first sync") -> list[Row]:
    """Sync for the first time, once in each of these beds; the store of the last one is for what follows."""
    counts = beds[0].org.counts
    records = sum(counts[o] for o in beds[0].objects)
    plain, ours = Row(f"plain script, {name}", records), Row(name, records)
    ours.against = plain
    for bed in beds:
        plain.runs.append(bed.plain("first"))
        ours.runs.append(bed.headrace("sync", "--json"))
        read = bed.said()["records_read"]
        if read != records:
            raise SystemExit(f"headrace read {read:,} records of an org with {records:,}.")
    return [plain, ours]


def nothing_new(bed: Bed, rounds: int) -> list[Row]:
    """Sync again: mostly the start of a process."""
    bed.org.grow_old()
    plain, ours = Row("plain script, nothing new"), Row("`headrace sync`, nothing new")
    ours.against = plain
    for _ in range(rounds):
        plain.runs.append(bed.plain("changes"))
        ours.runs.append(bed.headrace("sync"))
    return [plain, ours]


def changes(bed: Bed, rounds: int, mix: dict[str, int]) -> list[Row]:
    """Edit many records at once, then sync."""
    count = sum(mix.values())
    plain = Row(f"plain script, {count:,} changes", count)
    ours = Row(f"`headrace sync`, {count:,} changes", count, against=plain)
    for _ in range(rounds):
        bed.org.grow_old()
        told = bed.org.ask("edit", **mix)
        plain.runs.append(bed.plain("changes"))
        ours.runs.append(bed.headrace("sync"))
        sql, wanted = _saved(told)
        found = bed.ask(sql)[0]["n"]
        if found != wanted:
            raise SystemExit(f"{found:,} of {wanted:,} changed records are in the store: {sql}")
    return [plain, ours]


def with_a_worker(
    bed: Bed, mix: dict[str, int], seconds: float, polls: int, script: Row | None
) -> tuple[list[Row], list[float]]:
    """Have a worker poll all the time: in quiet, with single changes at random moments, with many at once.

    `script` is the row of the plain script for the same changes. Returns the rows, and the seconds from each single
    change until the worker's own door showed it.
    """
    bed.org.grow_old()
    plain = Row("plain script, one quiet poll", None, [bed.plain_quiet(polls)])
    count = sum(mix.values())
    with bed.worker() as worker:
        worker.rest(3)  # the first polls also look at delete logs and descriptions
        quiet = Row("worker, one quiet poll", None, [_quiet(worker, polls)], plain)
        delays = delay(bed.org, worker, seconds)
        bed.org.grow_old()
        worker.rest(2)
        burst = Row(f"worker, {count:,} changes", count, [_burst(bed.org, worker, mix)], script)
        worker.rest(1)
        after = Row(f"worker, one quiet poll within 10 minutes of {count:,} changes", None,
                    [_quiet(worker, max(1, polls // 3))], plain)  # fmt: skip
    return [plain, quiet, burst, after], delays


def _quiet(worker: Worker, polls: int) -> Cost:
    worker.rest(1)
    before = worker.polls()
    with worker.window() as found:
        time.sleep(polls * worker.interval)
    return found[0].per(max(1, worker.polls() - before))


def _burst(org: Org, worker: Worker, mix: dict[str, int]) -> Cost:
    with worker.window() as found:
        told = org.ask("edit", **mix)
        began = time.monotonic()
        sql, wanted = _saved(told)
        worker.until(lambda: worker.ask(sql)[0]["n"] >= wanted, every=0.25)
        visible = time.monotonic() - began
        time.sleep(1)  # acknowledging and trimming belong to it
    return replace(found[0], wall=visible)


def _saved(told: dict[str, object]) -> tuple[str, int]:
    """Return the query that counts what was edited, and what it must find."""
    saved = told["saved"]
    assert isinstance(saved, dict)
    since = f"TIMESTAMPTZ '{str(told['since'])[:19]}+00:00'"
    counts = [f"(SELECT count(*) FROM salesforce.{name.lower()} WHERE systemmodstamp >= {since})" for name in saved]
    return f"SELECT {' + '.join(counts)} AS n", sum(saved.values())


def delay(org: Org, worker: Worker, seconds: float, mean_pause: float = 0.5) -> list[float]:
    """Retitle a contact at random moments; return the seconds until each new title was in `changes`."""
    rng = random.Random(11)
    waiting: dict[str, float] = {}
    found: list[float] = []
    until = time.monotonic() + seconds
    next_at, number = time.monotonic(), 0
    while waiting or time.monotonic() < until:
        if time.monotonic() >= next_at and time.monotonic() < until:
            number += 1
            title = f"Delayed {number}"
            org.ask("retitle", title=title)
            waiting[title] = time.monotonic()
            next_at += rng.expovariate(1 / mean_pause)
        if waiting:
            names = ", ".join(f"'{title}'" for title in waiting)
            rows = worker.ask(
                f"SELECT DISTINCT new_value FROM changes WHERE field = 'Title' AND new_value IN ({names})"
            )
            now = time.monotonic()
            found += [now - waiting.pop(row["new_value"]) for row in rows]
            if waiting and now - min(waiting.values()) > 60:
                raise SystemExit("A change was not in the store after a minute.")
        time.sleep(0.05)
    return found


def upkeep(bed: Bed) -> list[Row]:
    """What a worker does beside polling: calculated fields read again once an hour, everything compared once a day."""
    records = sum(bed.org.counts[name] for name in bed.objects)
    bed.org.grow_old()
    sweep = Row("`headrace sweep` (daily)", records, [bed.headrace("sweep")])
    bed.org.grow_old()  # a sweep counts as a reading of calculated fields
    name = "`headrace sync` that reads calculated fields again (hourly)"
    return [sweep, Row(name, records, [bed.headrace("sync", HEADRACE_POLL__REREAD_SECONDS="60")])]


def replay(bed: Bed, rounds: int) -> Row:
    """Derive everything anew from the archive."""
    row = Row("`headrace replay`, all of it")
    for _ in range(rounds):
        row.runs.append(bed.headrace("replay", "--json"))
        row.records = bed.said()["captures"]
    return row


def fan_out(bed: Bed, people: int) -> list[Row]:
    """Found an account with many people, then change a field of that account: every person's row shows it."""
    with bed.worker() as worker:
        worker.rest(2)
        crowd, account = Row(f"worker, {people:,} new people of one account", people), ""
        with worker.window() as found:
            account = str(bed.org.ask("crowd", people=people)["account"])
            began = time.monotonic()
            here = f"SELECT count(*) AS n FROM users WHERE account_id = '{account}'"
            worker.until(lambda: worker.ask(here)[0]["n"] >= people, every=0.25)
            wall = time.monotonic() - began
        crowd.runs.append(replace(found[0], wall=wall))
        bed.org.grow_old()
        worker.rest(2)
        fan = Row(f"worker, a field of an account with {people:,} people", people)
        changed = f"{here} AND sfdc_account_industry = 'Fanned Out'"
        with worker.window() as found:
            bed.org.ask("change", name="Account", key=account, Industry="Fanned Out")
            began = time.monotonic()
            worker.until(lambda: worker.ask(changed)[0]["n"] >= people, every=0.1)
            wall = time.monotonic() - began
        fan.runs.append(replace(found[0], wall=wall))
    return [crowd, fan]
