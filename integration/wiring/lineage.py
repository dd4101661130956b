"""Which event set a field last: read from the store's `changes` and `events`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from integration.store.last_images import read_images
from integration.store.quoting import literal

Ask = Callable[..., list[dict[str, Any]]]

_CHANGES = """
SELECT c.record_id, c.field, c.new_value, c.event_id, c."time", c.actor_id, c.origin, e.name, e.seen_at
FROM changes AS c JOIN events AS e USING (event_id) WHERE c.record_id IN ({ids})
QUALIFY rank() OVER (PARTITION BY c.record_id, c.field ORDER BY c."time" DESC) = 1
ORDER BY e.seen_at, e.stored_at
"""
# What of a record's life as a whole is told as one event writes no `changes`, though values may have come with it.
_LIVES = """
SELECT record_id, event_id, "time", actor_id, origin, name, seen_at FROM events
WHERE record_id IN ({ids})
    AND (name LIKE '% Created' OR name LIKE '% Restored' OR name LIKE '% Deleted' OR name LIKE '% Merged')
ORDER BY "time", seen_at
"""
_ACTORS = "SELECT payload FROM headrace.states WHERE record_id IN ({ids}) AND object = 'User'"


@dataclass(frozen=True, slots=True)
class SetBy:
    """The event that a value came with. Times are ISO 8601 UTC.

    `time` and the actor are those of the event: of a value that is `first seen` nobody knows who set it, and `seen_at`
    is since when it is known.
    """

    how: Literal["changed", "first seen", "seen with"]
    """changed: the event says so; first seen: the value was there when the record was; seen with: the value came with
    an event that tells of the record as a whole (restored, deleted, merged)."""
    event: str
    event_id: str
    time: str
    seen_at: str
    actor_id: str | None
    actor: str | None
    """The name of that user, where it is known."""
    origin: str


class Lineage:
    """The last changes of every field of some records."""

    def __init__(self, ask: Ask, record_ids: Iterable[str]) -> None:
        ids = ", ".join(literal(i) for i in sorted(set(record_ids)))
        self._changes: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._lives: dict[str, list[dict[str, Any]]] = {}
        self._names: dict[str, str] = {}
        if not ids:
            return
        changes, lives = ask(_CHANGES, ids=ids), ask(_LIVES, ids=ids)
        for row in changes:
            self._changes.setdefault((row["record_id"], row["field"]), []).append(row)
        for row in lives:
            self._lives.setdefault(row["record_id"], []).append(row)
        actors = sorted({row["actor_id"] for row in (*changes, *lives) if row["actor_id"]})
        if actors:
            found = ask(_ACTORS, ids=", ".join(literal(i) for i in actors))
            users = read_images((row["payload"] for row in found), ask)
            self._names = {one.record_id: str(one.fields["Name"]) for one in users if one.fields.get("Name")}

    def last(self, record_id: str, field: str, value: str | None) -> SetBy | None:
        """Return the event that brought a field its value (as `changes` would show it), None where none is known."""
        changes, lives = self._changes.get((record_id, field), []), self._lives.get(record_id, [])
        if not changes:
            return self._set_by("first seen", lives[0]) if lives else None
        # Several edits of one second: the last one is the one that ends in what is there now.
        fitting = [change for change in changes if change["new_value"] == value]
        last = (fitting or changes)[-1]
        later = [one for one in lives if one["time"] >= last["time"] and not one["name"].endswith(" Created")]
        return self._set_by("changed", last) if fitting or not later else self._set_by("seen with", later[-1])

    def _set_by(self, how: Literal["changed", "first seen", "seen with"], row: dict[str, Any]) -> SetBy:
        actor = row["actor_id"]
        return SetBy(
            how, row["name"], row["event_id"], row["time"], row["seen_at"], actor, self._names.get(actor or ""),
            row["origin"],
        )  # fmt: skip
