"""What a record's history adds to what polling saw: the values between two images, as events with their own time.

A function of the record's history rows, of its changes that polling saw, and of its last image. Nothing else counts,
so rows and images may come in any order, and again, and end in the same events.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from integration.core import cause, exactjson
from integration.core.flatten import account_of, alias_of
from integration.core.history import Step
from integration.core.image import Image
from integration.core.registry import Named

ORIGIN = "history"


class Retold(NamedTuple):
    """A row of `events` that history tells (`user_id` still None), and its rows of `changes`."""

    event: dict[str, Any]
    changes: list[dict[str, Any]]


def retell(
    image: Image, steps: Iterable[Step], polled: Iterable[Step], names: Mapping[str, Named], stored_at: str
) -> list[Retold]:
    """Tell what polling has not: one event for each second and actor.

    `image` is the record's last one, `steps` what its history rows tell (see history.steps), `polled` every change of
    it that an image told, `names` the fields of its object.
    """
    known = list(steps)
    actors = Counter(time for time, _ in {(step.time, step.actor_id) for step in known})
    moments: dict[tuple[str, str | None], list[Step]] = defaultdict(list)
    for step in untold(known, polled, image.version):
        moments[step.time, step.actor_id].append(step)
    return [
        _retold(image, mine, names, stored_at, is_shared=actors[time] > 1)
        for (time, _), mine in sorted(moments.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]


def untold(steps: Iterable[Step], polled: Iterable[Step], version: str) -> list[Step]:
    """Return the steps of a record that no polled change tells, by field and in order.

    A polled change tells the last step to its value since the polled change before it. Its time may be later than
    that step's: an image has the stamp of the record's last save, which need not be the one that changed the field.
    Steps after `version`, the record's last image, wait for the image that shows them.
    """
    told = _by_field(polled)
    left = []
    for field, mine in sorted(_by_field(steps).items()):
        chain = in_order(mine)
        absorbed = _absorbed(chain, in_order(told.get(field, ())))
        left += [step for place, step in enumerate(chain) if place not in absorbed and step.time <= version]
    return left


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Sort the steps of one field by time, those of one second so that each begins where the one before it ended.

    Salesforce promises no order within a second. Where no such chain exists, or several do, the ids decide.
    """
    ordered: list[Step] = []
    for _, group in groupby(sorted(steps, key=lambda s: (s.time, s.told_by)), key=lambda s: s.time):
        ordered += _chained(list(group), ordered[-1:])
    return ordered


def _absorbed(chain: list[Step], polled: list[Step]) -> set[int]:
    """Return the places in the chain that polled changes tell.

    From the last to the first: several images may have one stamp, and each must leave the others their steps.
    """
    absorbed: set[int] = set()
    end = len(chain)
    for number in reversed(range(len(polled))):
        seen = polled[number]
        since = polled[number - 1].time if number else ""
        while end and chain[end - 1].time > seen.time:
            end -= 1
        for place in reversed(range(end)):
            if chain[place].time < since:
                break
            if chain[place].new == seen.new:
                absorbed.add(place)
                end = place
                break
    return absorbed


def _chained(steps: list[Step], before: list[Step]) -> list[Step]:
    follows = not before or before[0].new == steps[0].old
    if len(steps) == 1 or (follows and _is_chain(steps)):
        return steps
    trail = _trail(steps, before)
    return trail if len(trail) == len(steps) and _is_chain(trail) else steps


def _is_chain(steps: Iterable[Step]) -> bool:
    return all(one.new == other.old for one, other in pairwise(steps))


def _trail(steps: list[Step], before: list[Step]) -> list[Step]:
    """Walk from value to value, taking each step once (Hierholzer); a chain of all steps if there is one."""
    ways: dict[str | None, list[Step]] = defaultdict(list)
    surplus: Counter[str | None] = Counter()
    for step in reversed(steps):
        ways[step.old].append(step)
        surplus[step.old] += 1
        surplus[step.new] -= 1
    starts = [value for value, more in surplus.items() if more > 0]
    round_trip = before[0].new if before and ways.get(before[0].new) else steps[0].old
    path: list[tuple[str | None, Step | None]] = [(starts[0] if starts else round_trip, None)]
    trail: list[Step] = []
    while path:
        value, taken = path[-1]
        if ways[value]:
            step = ways[value].pop()
            path.append((step.new, step))
            continue
        path.pop()
        if taken is not None:
            trail.append(taken)
    return trail[::-1]


def _by_field(steps: Iterable[Step]) -> dict[str, list[Step]]:
    found: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        found[step.field].append(step)
    return found


def _retold(image: Image, steps: list[Step], names: Mapping[str, Named], stored_at: str, *, is_shared: bool) -> Retold:
    first = steps[0]
    event_id = f"{image.org}:{image.object}:{image.record_id}:{first.time}:{ORIGIN}"
    if is_shared:
        event_id += ":" + blake2b((first.actor_id or "").encode(), digest_size=4).hexdigest()
    common = {
        "event_id": event_id,
        "time": first.time,
        "object": image.object,
        "record_id": image.record_id,
        "user_id": None,
        "account_id": account_of(image),
        "actor_id": first.actor_id,
        "origin": ORIGIN,
        "alias": alias_of(image),
    }
    shown = [_shown(step, names) for step in steps]
    event = {
        **common,
        # Without the values around them, a stage's being won or lost is not to be known.
        "name": cause.event_name(image.object, None, {step.field for step in steps}, {}),
        "source": f"/salesforce/{image.org}",
        "seen_at": min(step.seen_at for step in steps),
        "stored_at": stored_at,
        "properties": exactjson.dumps({"changes": shown}),
    }
    changes = [
        {**common, "field": c["field"], "property": c["property"], "old_value": c["old"], "new_value": c["new"]}
        for c in shown
    ]
    return Retold(event, changes)


def _shown(step: Step, names: Mapping[str, Named]) -> dict[str, str | None]:
    return {"field": step.field, "property": names[step.field].property, "old": step.old, "new": step.new}


def polled_steps(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Step]]:
    """Read rows of `changes`: (record id, step)."""
    for row in rows:
        yield (
            row["record_id"],
            Step(row["time"], row["field"], row["old_value"], row["new_value"], row["event_id"], row["actor_id"]),
        )
