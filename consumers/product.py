"""Product events of a batch into the store, and what they tell of who is who."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from pydantic import ValidationError

from integration.core import naming, product
from integration.core.identity import Record, normal_email
from integration.core.product import Sighting
from integration.store import tables
from integration.store.protocol import Transaction
from schemas import ProductEvent

log = structlog.get_logger()

_MOST_NAMES: Final = 1_000
"""A product that makes up a name for every event would fill the store with views."""
_CONNECTED: Final = (
    "SELECT product_id, kind, first_seen, email, email_at, email_key, follows, follows_at FROM headrace.sightings "
    "WHERE product_id = any(?) OR follows = any(?) OR email_key = any(?)"
)


def read(payload: bytes) -> dict[str, Any]:
    """Return a product event as a plain dict. Raises ValueError that says what is wrong with it."""
    try:
        event = ProductEvent.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'data'}: {first['msg']}") from None
    if not (event.user_id or event.anonymous_id):
        raise ValueError("it has neither a user id nor an anonymous id")
    return event.model_dump()


@dataclass(slots=True)
class Taken:
    """The events that were new, as rows without their users; the ids that tell people apart otherwise than before, and
    the e-mails that these had and have."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    seen_again: int = 0


class Product:
    """Takes product events; remembers which event names have their views."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def take(self, tx: Transaction, events: Sequence[Mapping[str, Any]], now: str) -> Taken:
        """Leave out what the store has, note who was seen, and make the rows; they are to be written once their users
        are known."""
        fresh = _fresh(tx, events)
        taken = Taken(seen_again=len(events) - len(fresh))
        if not fresh:
            return taken
        taken.events = [product.event_row(data, now) for data in fresh]
        self._ensure_views(tx, (row["name"] for row in taken.events))
        _note(tx, product.sightings(fresh), taken)
        return taken

    def forget(self) -> None:
        """Forget what a transaction that failed may have made."""
        self._named.clear()

    def _ensure_views(self, tx: Transaction, names: Iterable[str]) -> None:
        for name in sorted(set(names) - self._named):
            if len(self._named) >= _MOST_NAMES:
                log.warning("no view for this event", detail=f"{_MOST_NAMES:,} names have theirs; it is in events")
                return
            self._named.add(name)
            view = naming.view_name(name)
            try:
                tx.ensure_view(view, tables.product_event_view(name))
            except ValueError:
                log.warning("no view for this event", view=view, detail="a table has that name; it is in events")


def _fresh(tx: Transaction, events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out events that the store has, or that come twice: clients send again what they are not sure of."""
    by_id = {data["id"]: data for data in reversed(events)}
    found = tx.rows("SELECT event_id FROM events WHERE event_id = any(?)", [sorted(by_id)])
    known = {row["event_id"] for row in found}
    return [data for data in events if data["id"] not in known and by_id[data["id"]] is data]


def _note(tx: Transaction, seen: Mapping[str, Sighting], taken: Taken) -> None:
    rows = tx.rows("SELECT * FROM headrace.sightings WHERE product_id = any(?)", [sorted(seen)])
    known = {row["product_id"]: product.sighting_of(row) for row in rows}
    changed = []
    for product_id, one in seen.items():
        before = known.get(product_id)
        after = one if before is None else before.joined(one)
        if after == before:
            continue
        changed.append(product.row_of(after))
        if not after.same_person(before):
            taken.ids.add(product_id)
            emails = (normal_email(s.known_email) for s in (before, after) if s is not None)
            taken.emails |= {email for email in emails if email}
    tx.upsert("headrace.sightings", ("product_id",), tables.SIGHTINGS, changed)


def records(tx: Transaction, ids: Iterable[str], emails: Iterable[str]) -> list[Record]:
    """Return the product identities that can be one person with these, as identity looks at them."""
    wanted, known = sorted(ids), sorted(emails)
    rows = tx.rows(_CONNECTED, [wanted, wanted, known])
    return [product.record_of(row) for row in rows]
