"""`headrace explain`: where each property of a person or an account comes from, and who set it last.

Everything is read from the store, through whoever owns it. Who was chosen stands there too; the rules are asked only
for the reason, and where they would choose otherwise now, that is said.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from integration.core import catalog, explain, identity, product, project, traits, values
from integration.core.catalog import BOOKKEEPING, ObjectSchema
from integration.core.columns import ColumnType
from integration.core.explain import Candidate, Choice
from integration.core.identity import Person, Record
from integration.core.image import Image
from integration.core.project import PERSON_OBJECTS, Deal, Deals, Role
from integration.core.traits import Told
from integration.core.whereabouts import record_id_of
from integration.errors import UsageError
from integration.settings import Settings
from integration.store.answers import ask
from integration.store.last_images import read_images
from integration.store.protocol import Reader
from integration.store.quoting import literal
from integration.store.tables import FIXED_OF_USERS, ROLL_UPS
from integration.wiring import reading
from integration.wiring.explanation import Alias, Counted, Explanation, Origin, Source, masked
from integration.wiring.lineage import Lineage
from integration.wiring.parts import rules

_AS_DEFINED = "run headrace doctor: the rules would choose otherwise now"
_ROLL_UPS = tuple(column.name for column in ROLL_UPS)

_USER_OF = (
    "SELECT user_id FROM identities WHERE alias IN ({names}) UNION SELECT user_id FROM users WHERE user_id IN ({names})"
)
_SIMILAR = """
SELECT alias, user_id FROM identities WHERE kind = 'email'
AND (left(alias, {few}) = {begin} OR right(alias, {few}) = {end}) ORDER BY alias LIMIT 1000
"""
_FEW = 6
_STATES = "SELECT payload FROM headrace.states WHERE record_id IN ({ids})"
_NAMES = """
SELECT property, object, field, prefix_object, type FROM headrace.properties WHERE field <> 'IsDeleted' ORDER BY place
"""
_SCHEMAS = "SELECT object, body::VARCHAR AS body FROM headrace.schemas ORDER BY since"
_SIGHTINGS = """
SELECT product_id, kind, first_seen, email, email_at, email_key, follows, follows_at, traits::VARCHAR AS traits
FROM headrace.sightings WHERE product_id IN ({ids})
"""
_PRODUCT_KINDS = ("product_user_id", "anonymous_id")
_ALIASES = "SELECT alias, kind, since, why FROM identities WHERE user_id = {id} ORDER BY kind, since, alias"
_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'salesforce' AND table_name IN ('opportunity', 'opportunitycontactrole')
"""


def explain_row(settings: Settings, whom: str, *, only: str = "*", show_values: bool = True) -> Explanation:
    """Take apart the row of a person (by e-mail, user id, contact or lead id) or of an account (by its id).

    `only` is a glob of property names. Without `show_values` no value, e-mail, amount or name of anybody is told.
    Raises UsageError for somebody the store does not know, and for a glob that no property fits.
    """
    with reading.reader(settings) as reader:
        book = _Book(settings, reader)
        kind, found = _find(book, whom)
        told = _Person(book, found).told() if kind == "person" else _Account(book, found).told()
    kept = [one for one in told.properties if fnmatchcase(one.property, only.lower())]
    if not kept:
        raise UsageError(f"No property of this {kind} is called {only}: headrace schema lists them all.")
    told.properties = kept
    if not any(one.property in _ROLL_UPS for one in kept):
        told.opportunities, told.opportunities_rule = [], ""
    return told if show_values else masked(told)


def _find(book: "_Book", whom: str) -> tuple[str, str]:
    text = whom.strip(identity.SPACE)
    if not text:
        raise UsageError("Whom to explain? Give an e-mail address, or the id of a contact, a lead or an account.")
    names = {text, text.lower()} if "@" in text else {text}
    if found := book.ask(_USER_OF, names=_listed(names)):
        return "person", found[0]["user_id"]
    if "@" in text:
        raise UsageError(_nobody(book, text.lower()))
    record_id = record_id_of(text)
    if found := book.ask(_USER_OF, names=_listed([record_id])):
        return "person", found[0]["user_id"]
    known = book.images([record_id]).get(record_id)
    if known is None:
        raise UsageError(
            f"The store has no person and no account of the id {record_id}: headrace why {record_id} says where it is."
        )
    if known.object != "Account":
        raise UsageError(
            f"{record_id} is a record of {known.object}, and it is people and accounts that are explained: "
            f"headrace why {record_id} follows the record itself."
        )
    return "account", record_id


def _nobody(book: "_Book", email: str) -> str:
    ends = {"begin": literal(email[:_FEW]), "end": literal(email[-_FEW:]), "few": str(_FEW)}
    user_of = {row["alias"]: row["user_id"] for row in book.ask(_SIMILAR, **ends)}
    similar = list(dict.fromkeys(user_of[alias] for alias in get_close_matches(email, user_of, cutoff=0.8)))
    hint = f" A similar one belongs to {' or '.join(similar)}." if similar else ""
    return f"No person in the store has the e-mail address {email}.{hint} After a change in Salesforce: headrace sync."


class _Book:
    """What the store knows, looked up in a few statements."""

    def __init__(self, settings: Settings, reader: Reader) -> None:
        self._settings = settings
        self._dropped = rules(settings).dropped
        self._reader = reader
        self.schemas: dict[str, ObjectSchema] = {r["object"]: catalog.from_json(r["body"]) for r in self.ask(_SCHEMAS)}
        self.names = self.ask(_NAMES)

    def left_out(self, trait: str) -> bool:
        """Tell whether the settings leave out a trait."""
        return self._dropped(traits.OBJECT, trait)

    def ask(self, sql: str, **words: str) -> list[dict[str, Any]]:
        """Run a statement. What goes into it is quoted, or comes from the store itself."""
        return ask(self._reader, sql.format(**words) if words else sql)

    def images(self, ids: Iterable[str | None]) -> dict[str, Image]:
        """Return the last images of records, by id; unknown ids are left out."""
        wanted = sorted({i for i in ids if i})
        if not wanted:
            return {}
        found = read_images((row["payload"] for row in self.ask(_STATES, ids=_listed(wanted))), self.ask)
        return {one.record_id: one for one in found}

    def deals(self, contacts: Sequence[str], account: str | None) -> tuple[Deals, dict[str, Image]]:
        """Return the opportunities that these contacts and this account lead to, and their images."""
        columns = {(r["table_name"], r["column_name"]) for r in self.ask(_COLUMNS)}
        roles: list[Role] = []
        ids: set[str] = set()
        if contacts and ("opportunitycontactrole", "contactid") in columns:
            sql = "SELECT id FROM salesforce.opportunitycontactrole WHERE contactid IN ({ids})"
            roles = [project.role_of(_facts(one)) for one in self._of(sql, contacts).values()]
            ids |= {r.opportunity_id for r in roles if r.opportunity_id}
        images = self.images(ids)
        if account and ("opportunity", "accountid") in columns:
            images |= self._of("SELECT id FROM salesforce.opportunity WHERE accountid IN ({ids})", [account])
        deals = {i: project.deal_of(_facts(one)) for i, one in images.items() if one.object == "Opportunity"}
        by_contact: dict[str, list[Role]] = {}
        for role in roles:
            by_contact.setdefault(role.contact_id or "", []).append(role)
        of_account = [d for d in deals.values() if account and d.account_id == account]
        return Deals(deals, {account: of_account} if account else {}, by_contact), images

    def _of(self, sql: str, ids: Iterable[str]) -> dict[str, Image]:
        return self.images(row["id"] for row in self.ask(sql, ids=_listed(ids)))

    def lookup(self, looking: str, target: str) -> list[str]:
        """Name the lookup fields by which an object's row brings in another one, the one that counts last."""
        schema = self.schemas.get(looking)
        if schema is None:
            return []
        pointing = [f.name for f in schema.fields if target in f.reference_to]
        named = [name for name in self._settings.object(looking).enrich if name in pointing]
        return named or pointing  # the store may have been filled under other settings


class _Row:
    """What people and accounts have in common: properties copied from records."""

    def __init__(self, book: _Book, row: Mapping[str, Any], records: Mapping[str, Image | None]) -> None:
        self.book = book
        self.row = row
        self.sources: list[Source] = []
        self.records: dict[tuple[str, str], Image | None] = {(name, name): one for name, one in records.items()}
        self.vias: dict[tuple[str, str], str] = {}
        self._bring_in()
        self.lineage = Lineage(book.ask, [one.record_id for one in self.records.values() if one is not None])

    def _bring_in(self) -> None:
        """Find the records that lookups of the row's own records point at."""
        wanted: dict[tuple[str, str], tuple[str, str | None]] = {}
        for named in self.book.names:
            looking, target = named["prefix_object"], named["object"]
            if looking == target or (looking, looking) not in self.records or (looking, target) in wanted:
                continue
            own = self.records[looking, looking]
            for name in self.book.lookup(looking, target):
                value = own.fields.get(name) if own is not None else None
                wanted[looking, target] = name, value if isinstance(value, str) else None
        images = self.book.images(record_id for _, record_id in wanted.values())
        for (looking, target), (name, record_id) in wanted.items():
            found = images.get(record_id or "")
            # A deleted record shows nothing through a lookup, and one of another object is none of this one's.
            shows = found is not None and not found.is_deleted and found.object == target
            self.records[looking, target] = found if shows else None
            self.vias[looking, target] = name

    def choose(self, part: str, one: Image | None, name: str, rule: str) -> None:
        """Note why a record is one of those that the row is made of."""
        version, is_deleted = (one.version, one.is_deleted) if one is not None else (None, False)
        self.sources.append(Source(part, name, one and one.record_id, version, is_deleted, rule))

    def choose_lookups(self) -> None:
        """Note by which lookup each brought-in record came."""
        for (looking, target), name in self.vias.items():
            own, found = self.records[looking, looking], self.records[looking, target]
            if own is None:
                continue
            empty = "" if found is not None else ", which points at no live record"
            self.choose(f"{looking}.{name}", found, target, f"looked up by {name} of {looking} {own.record_id}{empty}")

    def properties(self) -> list[Origin]:
        """Say of each property where it comes from, in the order in which they were named."""
        rules = {(s.part.partition(".")[0].title(), s.object): s.rule for s in self.sources}
        told = []
        for named in self.book.names:
            key = named["prefix_object"], named["object"]
            if key in self.records and named["property"] in self.row:
                told.append(self._origin(named, self.records[key], rules.get(key, "")))
        return told

    def _origin(self, named: Mapping[str, Any], one: Image | None, rule: str) -> Origin:
        return self.origin(named["property"], one, named["field"], rule, ColumnType(named["type"]))

    def origin(
        self, name: str, one: Image | None, field_name: str | None, rule: str, kind: ColumnType = ColumnType.TEXT
    ) -> Origin:
        """Say where one column of the row comes from."""
        value = self.row.get(name)
        if one is None or field_name is None:
            return Origin(name, value, value is not None, None, None, None, None, None, rule)
        set_by = None
        if field_name not in BOOKKEEPING:  # those move with every save: no change tells of them
            set_by = self.lineage.last(one.record_id, field_name, values.text(kind, one.fields.get(field_name)))
        return Origin(name, value, value is not None, one.object, one.record_id, field_name, one.version, set_by, rule)

    def counted(self, candidates: Iterable[Candidate], images: Mapping[str, Image]) -> list[Counted]:
        """List opportunities with the roll-ups that count them."""
        return [self._counted(c.deal, images[c.deal.record_id]) for c in candidates]

    def _counted(self, deal: Deal, one: Image) -> Counted:
        fields = one.fields
        return Counted(
            deal.record_id, fields.get("Name"), fields.get("StageName"), fields.get("Amount"), explain.counts_in(deal)
        )

    def roll_ups(self, rule: str) -> list[Origin]:
        """Say what the sums and counts are made of."""
        return [self.origin(name, None, None, rule) for name in _ROLL_UPS if name in self.row]


class _Person:
    """A row of `users`."""

    def __init__(self, book: _Book, user_id: str) -> None:
        [self._row] = book.ask("SELECT * FROM users WHERE user_id = {id}", id=literal(user_id))
        [people] = book.ask("SELECT opportunity_id FROM headrace.people WHERE user_id = {id}", id=literal(user_id))
        self._book = book
        self._id = user_id
        self._aliases = [Alias(**row) for row in book.ask(_ALIASES, id=literal(user_id))]
        self._images = book.images(a.alias for a in self._aliases if a.kind != "email")
        self._sightings = self._told_of()
        self._members = self._product_members() | {
            i: identity.record_of(one.object, _facts(one)) for i, one in self._images.items()
        }
        self._person = self._stitched()
        contacts = [m.record_id for m in self._members.values() if m.is_contact]
        self._deals, self._deal_images = book.deals(contacts, self._row["account_id"])
        self._opportunity = people["opportunity_id"]

    def told(self) -> Explanation:
        """Take the row apart."""
        row = self._row
        accounts = self._book.images([row["account_id"]])
        shown = {
            "Contact": self._images.get(row["contact_id"]),
            "Lead": self._images.get(row["lead_id"]),
            "Account": accounts.get(row["account_id"]),
            "Opportunity": self._deal_images.get(self._opportunity),
        }
        parts = _Row(self._book, row, {name: shown[name] for name in PERSON_OBJECTS})
        counted, are_own = explain.counted(self._person, self._deals)
        self._choose(parts, shown, counted, are_own=are_own)
        parts.choose_lookups()
        of = "in which the person has a role" if are_own else "of the account (the person has no role in any)"
        rule = f"over the live opportunities {of}"
        return Explanation(
            "person", self._id, row["is_deleted"], self._aliases, parts.sources,
            [*self._fixed(parts), *parts.roll_ups(rule), *parts.properties(), *self._traits()],
            parts.counted(counted, self._deal_images), rule,
        )  # fmt: skip

    def _told_of(self) -> dict[str, Mapping[str, Any]]:
        """Return what product events tell of the person's ids, those of records included."""
        ids = [a.alias for a in self._aliases if a.kind != "email"]
        return {row["product_id"]: row for row in self._book.ask(_SIGHTINGS, ids=_listed(ids))} if ids else {}

    def _product_members(self) -> dict[str, Record]:
        ids = [a.alias for a in self._aliases if a.kind in _PRODUCT_KINDS]
        return {i: product.record_of(self._sightings[i]) for i in ids if i in self._sightings}

    def _stitched(self) -> Person:
        members = tuple(sorted(self._members.values(), key=lambda m: (m.created, m.record_id)))
        get = self._members.get
        owner = get(self._id) or members[0]
        return Person(
            self._id, members, owner, get(self._row["contact_id"]), get(self._row["lead_id"]), self._row["is_deleted"]
        )

    def _choose(
        self, parts: _Row, shown: Mapping[str, Image | None], counted: list[Candidate], *, are_own: bool
    ) -> None:
        for name in ("Contact", "Lead"):
            one = shown[name]
            pool = [m for m in self._members.values() if m.object == name]
            if one is not None:
                parts.choose(name.lower(), one, name, _of_people(name, one.record_id, pool))
        if account := shown["Account"]:
            parts.choose("account", account, "Account", self._account_rule())
        if deal := shown["Opportunity"]:
            parts.choose("opportunity", deal, "Opportunity", _of_deals(deal.record_id, counted, are_own=are_own))

    def _account_rule(self) -> str:
        if self._person.contact is not None:
            return f"AccountId of contact {self._person.contact.record_id}"
        return f"ConvertedAccountId of lead {self._person.lead.record_id if self._person.lead else '-'}"

    def _fixed(self, parts: _Row) -> list[Origin]:
        """Say where the columns that every person has come from."""
        person, shown = self._person, self._images
        owner = shown.get(person.owner.record_id)
        with_email = next((m for m in (person.owner, *person.members) if m.email), None)
        email = shown.get(with_email.record_id) if with_email else None
        first = shown.get(person.members[0].record_id)
        of = person.contact or person.lead
        account_field = "AccountId" if person.contact else "ConvertedAccountId"
        live = sum(m.is_live for m in person.members)
        owning = _sentence(explain.best_owner(person.members), self._id, "record", lambda r: r.record_id)
        told = {
            "user_id": (owner, "Id", owning),
            "identity": (email, "Email", "the e-mail, trimmed and in lower case"),
            "email": (email, "Email", "of the record behind user_id, else of the first other one that has any"),
            "contact_id": (shown.get(self._row["contact_id"]), "Id", "the contact that the row shows"),
            "lead_id": (shown.get(self._row["lead_id"]), "Id", "the lead that the row shows"),
            "account_id": (shown[of.record_id] if of else None, account_field, "the account that the row shows"),
            "owner_id": (owner, "OwnerId", "of the record behind user_id"),
            "first_seen": (first, "CreatedDate", "the earliest of the person's records"),
            "updated_at": (None, None, "the latest SystemModstamp of the records that the row is made of"),
            "is_deleted": (None, None, f"{live} of the person's {len(person.members)} records stand for a live person"),
        }
        return [parts.origin(name, *told[name]) for name in FIXED_OF_USERS if name in told]

    def _traits(self) -> list[Origin]:
        """Say of each trait's column which id of the person was told of it last."""
        names = [n["property"] for n in self._book.names if n["object"] == traits.OBJECT and n["property"] in self._row]
        told = traits.told_last({i: product.traits_of(row) for i, row in self._sightings.items()}, self._book.left_out)
        found = traits.by_column(told, FIXED_OF_USERS, self._book.left_out)
        return [self._trait(name, found.get(name)) for name in names]

    def _trait(self, name: str, one: Told | None) -> Origin:
        value = self._row[name]
        if one is None:
            rule = "no id of the person has this trait" if value is None else _AS_DEFINED
            return Origin(name, value, value is not None, None, None, None, None, None, rule)
        rule = "the value told last" if traits.text(one.value) == value else _AS_DEFINED
        return Origin(name, value, value is not None, identity.PRODUCT, one.product_id, one.trait, one.at, None, rule)


class _Account:
    """A row of `accounts`."""

    def __init__(self, book: _Book, account_id: str) -> None:
        self._book = book
        self._id = account_id

    def told(self) -> Explanation:
        """Take the row apart."""
        [row] = self._book.ask("SELECT * FROM accounts WHERE account_id = {id}", id=literal(self._id))
        deals, images = self._book.deals([], self._id)
        account = self._book.images([self._id])[self._id]
        parts = _Row(self._book, row, {"Account": account})
        parts.choose("account", account, "Account", "the account itself")
        parts.choose_lookups()
        rule = "over the live opportunities of the account"
        live = [Candidate(d, is_primary=False) for d in deals.by_account.get(self._id, ()) if not d.is_deleted]
        fixed = [
            parts.origin("owner_id", account, "OwnerId", "of the account"),
            parts.origin("people_count", None, None, "live rows of users with this account_id"),
            parts.origin("activity_count", None, None, "live tasks and events that name the account"),
        ]
        return Explanation(
            "account", self._id, row["is_deleted"], [], parts.sources,
            [*fixed, *parts.roll_ups(rule), *parts.properties()], parts.counted(live, images), rule,
        )  # fmt: skip


def _of_people(name: str, shown: str, pool: Sequence[Record]) -> str:
    return _sentence(explain.best_record(pool), shown, name.lower(), lambda r: r.record_id, len(pool))


def _of_deals(shown: str, counted: Sequence[Candidate], *, are_own: bool) -> str:
    of = "in which the person has a role" if are_own else "of the account, as the person has no role in any"
    if not counted:
        return _AS_DEFINED
    what = f"live opportunity {of}" if len(counted) == 1 else "opportunity"
    sentence = _sentence(explain.best_candidate(counted), shown, what, lambda c: c.deal.record_id, len(counted))
    return sentence if len(counted) == 1 else f"{sentence} (live ones {of})"


def _sentence(choice: Choice[Any], shown: str, what: str, id_of: Callable[[Any], str], count: int = 0) -> str:
    """Say why one of several was chosen."""
    if id_of(choice.chosen) != shown:
        return _AS_DEFINED
    if choice.runner_up is None:
        return f"the only {what}"
    of = f"of {count}" if count else "first"
    return f"{of}, before {id_of(choice.runner_up)}: {choice.rule or 'by all rules together'}"


def _facts(one: Image) -> dict[str, Any]:
    """Return what identity and project read of a record."""
    created = {"CreatedDate": one.created}
    return {**one.fields, **created, "Id": one.record_id, "version": one.version, "is_deleted": one.is_deleted}


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(literal(i) for i in sorted(ids))
