"""Product events of a batch into the store, and what they tell of who is who."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError

from integration.core import exactjson, naming, product
from integration.core.identity import Record, normal_email
from integration.core.product import Sighting
from integration.core.traits import Traits, without
from integration.store import tables
from integration.store.protocol import Transaction
from schemas import ProductEvent

log = structlog.get_logger()

_LONGEST_VIEW: Final = 63
"""What every store can call a view."""
_NUL: Final = "\x00"
_MOST_NAMES: Final = 1_000
"""A product that makes up a name for every event would fill the store with views."""
_CONNECTED: Final = (
    "SELECT product_id, kind, first_seen, email, email_at, email_key, follows, follows_at FROM headrace.sightings "
    "WHERE product_id = any(?) OR follows = any(?) OR email_key = any(?)"
)
_TRAITS: Final = "SELECT product_id, traits FROM headrace.sightings WHERE product_id = any(?)"


def read(payload: bytes, left_out: Callable[[str], bool] = lambda _trait: False) -> dict[str, Any]:
    """Return a product event as a plain dict, its numbers with every digit and without the traits to be left out.

    Raises ValueError, saying what is wrong.
    """
    try:
        ProductEvent.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'data'}: {first['msg']}") from None
    data: dict[str, Any] = exactjson.loads(payload)
    ids = [data[name] for name in ("id", "user_id", "anonymous_id", "previous_id", "name") if data[name]]
    if any(_NUL in one for one in ids):
        raise ValueError("an id or the name has the character U+0000")
    if not (data["user_id"] or data["anonymous_id"]):
        raise ValueError("it has neither a user id nor an anonymous id")
    # The door writes milliseconds; whoever else writes such entries may not, and what is compared must look the same.
    data["time"] = datetime.fromisoformat(data["time"]).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data["traits"] = without(data["traits"], left_out)
    return data


@dataclass(slots=True)
class Taken:
    """The events that were new, as rows without their users; the traits they tell; the ids of which they tell anything
    new, and the e-mails that these had and have."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    emails: set[str] = field(default_factory=set)
    traits: list[Mapping[str, Any]] = field(default_factory=list)
    seen_again: int = 0


class Product:
    """Takes product events; remembers which event names have their views."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] | None = None
        """View -> the event names that it stands for: `Sign Up` and `sign_up` are two names of one view."""

    def take(self, tx: Transaction, events: Sequence[Mapping[str, Any]], now: str) -> Taken:
        """Leave out what the store has, note who was seen, and make the rows; they are to be written once their users
        are known."""
        fresh = _fresh(tx, events)
        taken = Taken(seen_again=len(events) - len(fresh))
        if not fresh:
            return taken
        taken.events = [product.event_row(data, now) for data in fresh]
        taken.traits = [told for data in fresh if (told := product.own_traits(data))]
        self._ensure_views(tx, {row["name"] for row in taken.events})
        _note(tx, product.sightings(fresh), taken)
        return taken

    def forget(self) -> None:
        """Forget what a transaction that failed may have made."""
        self._names = None

    def _ensure_views(self, tx: Transaction, names: set[str]) -> None:
        if self._names is None:
            rows = tx.rows("SELECT DISTINCT name, origin = 'product' AS is_told FROM events")
            self._names = _by_view(row["name"] for row in rows)
            told = _by_view({*names, *(row["name"] for row in rows if row["is_told"])})
            stale = {*told}
        else:
            told = _by_view(names)
            stale = {view for view in told if not self._names.get(view, set()) >= told[view]}
        for view in sorted(stale):
            if len(view) > _LONGEST_VIEW or (view not in self._names and len(self._names) >= _MOST_NAMES):
                log.warning(
                    "no view for this event", detail="its name is too long, or too many have theirs: see events"
                )
                continue
            known = self._names.setdefault(view, set())
            known |= told[view]
            try:
                tx.ensure_view(view, tables.product_event_view(known))
            except ValueError:
                log.warning("no view for this event", view=view, detail="a table has that name; it is in events")


def _by_view(names: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(naming.view_name(name), set()).add(name)
    return found


def _fresh(tx: Transaction, events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out events that the store has, or that come twice: clients send again what they are not sure of."""
    by_id = {data["id"]: data for data in reversed(events)}
    found = tx.rows("SELECT event_id FROM events WHERE event_id = any(?)", [sorted(by_id)])
    known = {row["event_id"] for row in found}
    return [data for data in events if data["id"] not in known and by_id[data["id"]] is data]


def _note(tx: Transaction, seen: Mapping[str, Sighting], taken: Taken) -> None:
    rows = tx.rows("SELECT * FROM headrace.sightings WHERE product_id = any(?)", [sorted(seen)])
    known = {row["product_id"]: row for row in rows}
    changed = []
    for product_id, one in seen.items():
        stored = known.get(product_id)
        if stored is not None and not product.tells_more(one, stored):
            continue
        before = None if stored is None else product.sighting_of(stored)
        after = one if before is None else before.joined(one)
        row = product.row_of(after)
        # As rows: to Python 1 and true are equal.
        if before is not None and row == product.row_of(before):
            continue
        changed.append(row)
        taken.ids.add(product_id)
        emails = (normal_email(s.known_email) for s in (before, after) if s is not None)
        taken.emails |= {email for email in emails if email}
    tx.upsert("headrace.sightings", ("product_id",), tables.SIGHTINGS, changed)


def records(tx: Transaction, ids: Iterable[str], emails: Iterable[str]) -> list[Record]:
    """Return the product identities that can be one person with these, as identity looks at them."""
    wanted, known = sorted(ids), sorted(emails)
    rows = tx.rows(_CONNECTED, [wanted, wanted, known])
    return [product.record_of(row) for row in rows]


def traits(tx: Transaction, ids: Iterable[str]) -> dict[str, Traits]:
    """Return the traits of product ids that have any."""
    wanted = sorted(ids)
    rows = tx.rows(_TRAITS, [wanted]) if wanted else []
    told = {row["product_id"]: product.traits_of(row) for row in rows}
    return {product_id: one for product_id, one in told.items() if one}
