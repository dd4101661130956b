"""Product events as rows, and what they tell of who is who. Pure, and a function of the events alone: in whatever order
they come, they end in the same rows.

A product knows people by ids of its own: an anonymous id that a browser makes up, and the user id after a sign-in. All
of them are names in one space, as are Salesforce's record ids: a product that uses those as its user ids needs nothing
else to be joined.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from integration.core import exactjson
from integration.core.identity import PRODUCT, Record, normal_email
from integration.core.traits import EMAIL, Traits

SOURCE: Final = "/product"

_NAMES: Final[Mapping[str, str]] = {
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "identify": "Identified",
    "group": "Group Joined",
    "alias": "Alias Created",
}
CALLS: Final = tuple(_NAMES[kind] for kind in ("identify", "group", "alias"))
"""Names of events that say who somebody is: nobody has done anything in the product by them."""
_LONGEST_EMAIL: Final = 320
_USER: Final = "product_user_id"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the events tell of one product id, so far. Times are ISO 8601 UTC."""

    product_id: str
    first_seen: str
    is_user: bool = False
    """Whether it was ever used as a user id."""
    email: str | None = None
    """The last one told of it, as told."""
    email_at: str = ""
    follows: str | None = None
    """The id it turned out to be: the first user id that an anonymous id was seen with, or that an alias named."""
    follows_at: str = ""
    traits: Traits = field(default_factory=dict)
    """Trait -> (when it was told, its last value)."""

    def joined(self, other: "Sighting") -> "Sighting":
        """Return what both tell together."""
        email_at, email = max((self.email_at, self.email or ""), (other.email_at, other.email or ""))
        follows = [(s.follows_at, s.follows) for s in (self, other) if s.follows is not None]
        follows_at, followed = min(follows) if follows else ("", None)
        traits = dict(self.traits)
        for name, told in other.traits.items():
            traits[name] = max(traits[name], told, key=_by_time) if name in traits else told
        return Sighting(
            self.product_id,
            min(self.first_seen, other.first_seen),
            self.is_user or other.is_user,
            email or None,
            email_at,
            followed,
            follows_at,
            traits,
        )

    @property
    def known_email(self) -> str | None:
        """Return the e-mail that the person goes by: the last one told, or an id that is one."""
        return self.email or (self.product_id if "@" in self.product_id else None)


def event_name(kind: str, name: str | None) -> str:
    """Return what an event is called: as the product calls it, pages and the like as headrace does."""
    return name if kind == "track" and name else _NAMES.get(kind, kind)


def event_row(data: Mapping[str, Any], stored_at: str) -> dict[str, Any]:
    """Return the row of `events` of a product event (the plain dict of a schemas.ProductEvent).

    `properties` holds the event's own, and beside them what the client told around them under `context`, `traits` and
    `group_id`, and the page's or screen's `name`. An own property of one of these names that says something else is
    `own_context` and so on: views and sessions read the client's. The user is named later, by `alias`.
    """
    told = {"traits": data["traits"], "group_id": data["group_id"], "context": data["context"]}
    if data["type"] != "track":
        told = {"name": data["name"], **told}
    properties = dict(data["properties"])
    for name, value in told.items():
        if value:
            _set_aside(properties, name, value)
            properties[name] = value
    return {
        "event_id": data["id"],
        "time": data["time"],
        "name": event_name(data["type"], data["name"]),
        "user_id": None,
        "account_id": None,
        "source": SOURCE,
        "object": None,
        "record_id": None,
        "actor_id": None,
        "origin": "product",
        "seen_at": data["received_at"],
        "stored_at": stored_at,
        "properties": exactjson.dumps(properties),
        "alias": data["user_id"] or data["anonymous_id"],
    }


def _set_aside(properties: dict[str, Any], name: str, told: Any) -> None:
    """Give a property the first free name of `own_<name>`, `own_own_<name>` and so on, if it differs from `told`."""
    if properties.get(name, told) == told:
        return
    free = f"own_{name}"
    while free in properties:
        free = f"own_{free}"
    properties[free] = properties[name]


def sightings(events: Iterable[Mapping[str, Any]]) -> dict[str, Sighting]:
    """Return what these events tell of each product id."""
    found: dict[str, Sighting] = {}
    for one in (sighting for data in events for sighting in _told(data)):
        known = found.get(one.product_id)
        found[one.product_id] = one if known is None else known.joined(one)
    return found


def own_traits(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the traits that an event tells of its user; those of a group call are the group's."""
    traits: Mapping[str, Any] = data["traits"] if data["type"] == "identify" else {}
    return traits


def _told(data: Mapping[str, Any]) -> Sequence[Sighting]:
    user, anonymous, at = data["user_id"], data["anonymous_id"], data["time"]
    previous = data["previous_id"] if data["type"] == "alias" else None
    traits = {name: (at, value) for name, value in own_traits(data).items()}
    email = traits.get(EMAIL, ("", None))[1]
    shown, since = (email, at) if _is_email(email) else (None, "")
    told = [Sighting(user or anonymous, at, bool(user), shown, since, traits=traits)]
    followers = {one for one in (anonymous, previous) if one and one != user} if user else set()
    return told + [Sighting(one, at, follows=user, follows_at=at) for one in sorted(followers)]


def _is_email(value: Any) -> bool:
    # Whatever else it is: what no mailbox can be called must not become a key.
    return normal_email(value) is not None and len(value) <= _LONGEST_EMAIL and value.isprintable()


def _by_time(told: tuple[str, Any]) -> tuple[str, bytes]:
    return told[0], exactjson.dumps(told[1])


def row_of(one: Sighting) -> dict[str, Any]:
    """Return the row of `headrace.sightings`."""
    return {
        "product_id": one.product_id,
        "kind": _USER if one.is_user else "anonymous_id",
        "first_seen": one.first_seen,
        "email": one.email,
        "email_at": one.email_at or None,
        "email_key": normal_email(one.known_email),
        "follows": one.follows,
        "follows_at": one.follows_at or None,
        "traits": exactjson.dumps({name: list(told) for name, told in sorted(one.traits.items())}),
    }


def sighting_of(row: Mapping[str, Any]) -> Sighting:
    """Undo `row_of`."""
    return Sighting(
        row["product_id"],
        row["first_seen"],
        row["kind"] == _USER,
        row["email"],
        row["email_at"] or "",
        row["follows"],
        row["follows_at"] or "",
        traits_of(row),
    )


def tells_more(one: Sighting, row: Mapping[str, Any]) -> bool:
    """Tell whether a sighting may hold what its row of `headrace.sightings` does not. Most events of a person known
    already tell nothing of them: for those the row, with all its traits, need not be read and written again."""
    if one.traits or one.email is not None or one.follows is not None:
        return True
    return one.first_seen < row["first_seen"] or (one.is_user and row["kind"] != _USER)


def traits_of(row: Mapping[str, Any]) -> Traits:
    """Return trait -> (when it was told, its last value) of a row of `headrace.sightings`."""
    traits = exactjson.loads(row["traits"]) if row["traits"] else {}
    return {name: (told[0], told[1]) for name, told in traits.items()}


def record_of(row: Mapping[str, Any]) -> Record:
    """Return a row of `headrace.sightings` (its traits may be missing) as identity looks at it."""
    return Record(
        row["product_id"],
        PRODUCT,
        row["first_seen"],
        max(row["first_seen"], row["email_at"] or "", row["follows_at"] or ""),
        row["email_key"],
        is_deleted=False,
        is_converted=row["follows"] is not None,
        follows=row["follows"],
        shown_email=row["email"] or row["email_key"],
        is_user=row["kind"] == _USER,
    )
