"""`headrace why`: where a record is on its way, part by part, and what that comes to. Never tells a field's value.

Every part that can't be reached says so in its line, and the others are looked at all the same.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from integration.core import catalog, history, reconcile, whereabouts
from integration.core.catalog import BOOKKEEPING, ObjectSchema
from integration.core.image import Image
from integration.core.whereabouts import Dead, Facts, Verdict
from integration.errors import HeadraceError, UsageError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.source.faults import UnknownObjectError
from integration.source.soql import earliest, latest, parse_stamp, shift
from integration.store.answers import ask
from integration.store.last_images import read_images
from integration.store.protocol import Reader
from integration.stream import find, groups, names
from integration.stream.connection import Client, answering
from integration.stream.publish import Publisher
from integration.wiring import parts, reading
from integration.wiring.streams import existing_streams, has_streams

# The delete log reaches back 15 days; a bit less, as its window is cut at whole minutes.
_LOG_SECONDS = 15 * 86_400 - 300
_NOT_THERE = "not there yet: run headrace sync"

_SCHEMAS = "SELECT object, body::VARCHAR AS body FROM headrace.schemas ORDER BY since"
_STATE = "SELECT object, payload FROM headrace.states WHERE record_id = '{id}'"
_POSITION = "SELECT \"offset\" FROM headrace.positions WHERE stream = '{stream}'"
_CAPTURE = """
SELECT origin, seen_at, stored_at FROM captures WHERE record_id = '{id}' AND object = '{object}'
ORDER BY stored_at DESC, seen_at DESC LIMIT 1
"""
_DEAD = """
SELECT stream, reason, json_extract_string(entry, '$.time') AS version FROM dead_letters
WHERE json_extract_string(entry, '$.subject') = '{object}/{id}' ORDER BY last_tried_at DESC LIMIT 1
"""
_PERSON = """
SELECT i.user_id, u.contact_id, u.lead_id FROM identities AS i LEFT JOIN users AS u USING (user_id)
WHERE i.alias = '{id}'
"""
_SHOWING = {
    "Account": "SELECT count(*) AS n FROM users WHERE account_id = '{id}'",
    "Opportunity": "SELECT count(*) AS n FROM headrace.people WHERE opportunity_id = '{id}'",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one part of the way says of the record."""

    about: str
    sentence: str


@dataclass(slots=True)
class Report:
    """Everything that was found out. `differing` names fields, with whether Salesforce calculates them."""

    record_id: str
    object: str = ""
    outcome: str = ""
    verdict: str = ""
    remedy: str = ""
    steps: list[Step] = field(default_factory=list)
    differing: dict[str, bool] = field(default_factory=dict)


def why(settings: Settings, record_id: str, *, offline: bool = False) -> tuple[Report, HeadraceError | None]:
    """Follow a record, and return what there is to say and the first part that could not be reached.

    Raises UsageError for an id that is none, or that belongs to no object known here.
    """
    look = _Look(settings, whereabouts.record_id_of(record_id))
    with ExitStack() as stack:
        look.open(stack, offline=offline)
        look.follow()
    return look.report(), next(iter(look.problems), None)


class _Look:
    """One look at all parts; what it finds goes to `facts` (for the verdict) and `steps` (for people)."""

    def __init__(self, settings: Settings, record_id: str) -> None:
        self._settings = settings
        self._id = record_id
        self._reader: Reader | None = None
        self._client: Client | None = None
        self._source: SalesforceClient | None = None
        self._known: dict[str, ObjectSchema] = {}
        self._stored: Image | None = None
        self._schema: ObjectSchema | None = None
        self._shown: reconcile.Shown | None = None
        self.facts = Facts("", record_id)
        self.steps: list[Step] = []
        self.problems: list[HeadraceError] = []

    def report(self) -> Report:
        """Put the verdict under what was found."""
        facts = self.facts
        found: Verdict = whereabouts.verdict(facts)
        differing = {name: name in facts.calculated for name in facts.differing}
        return Report(self._id, facts.object, found.outcome, found.sentence, found.remedy, self.steps, differing)

    def open(self, stack: ExitStack, *, offline: bool) -> None:
        """Reach what can be reached."""
        with self._part("store"):
            if reading.exists(self._settings):
                self._reader = stack.enter_context(reading.reader(self._settings))
                self._read_schemas()
            else:
                self._say("store", _NOT_THERE)
            self.facts.store_reached = True
        with self._part("stream"):
            if has_streams(self._settings):
                self._client = stack.enter_context(existing_streams(self._settings)).client
            else:
                self._say("stream", _NOT_THERE)
            self.facts.streams_reached = True
        if offline:
            self._say("salesforce", "not asked (--offline)")
            return
        with self._part("salesforce"):
            source = parts.salesforce(self._settings)
            source.org_id  # noqa: B018 - logs in
            self._source = source

    def follow(self) -> None:
        """Look at one part after the other. Raises UsageError if the id is of no object."""
        with self._part("store"):
            self._find_state()
        with self._part("salesforce"):
            self.facts.object = self.facts.object or self._object()
        if not self.facts.object:
            if self.problems:
                raise self.problems[0]
            more = "; Salesforce was not asked" if self._source is None else ", nor of one that this login sees"
            raise UsageError(f"Ids that begin with {self._id[:3]} are of no object that has been read{more}.")
        for about, look in (
            ("object", self._look_at_object),
            ("salesforce", self._look_at_salesforce),
            ("cursor", self._look_at_cursor),
            ("stream", self._look_at_stream),
            ("dead letters", self._look_at_dead_letters),
            ("store", self._look_at_store),
            ("fields", self._compare),
        ):
            with self._part(about):
                look()

    def _part(self, about: str) -> "_Part":
        return _Part(self, about)

    def _say(self, about: str, sentence: str) -> None:
        self.steps.append(Step(about, sentence))

    def _ask(self, sql: str, **words: str) -> list[dict[str, Any]]:
        # What goes into the statements are ids and API names that have been checked, or come from the store itself.
        if self._reader is None:
            return []
        return ask(self._reader, sql.format(id=self._id, object=self.facts.object, **words))

    # --- which object -------------------------------------------------------------------------------

    def _read_schemas(self) -> None:
        for row in self._ask(_SCHEMAS):
            self._known[row["object"]] = catalog.from_json(row["body"])

    def _find_state(self) -> None:
        for row in self._ask(_STATE):
            [self._stored] = read_images([row["payload"]], self._ask)
            self.facts.object = row["object"]
            self.facts.stored_version, self.facts.stored_deleted = self._stored.version, self._stored.is_deleted

    def _object(self) -> str:
        """Tell whose ids begin like this one; several objects may share a prefix (all histories do)."""
        prefix = self._id[:3]
        known = [name for name, schema in self._known.items() if schema.key_prefix == prefix]
        if not known and self._source is not None:
            known = [str(o["name"]) for o in self._source.objects() if o.get("keyPrefix") == prefix]
        read = [name for name in known if self._unread(name) is None]
        return next(iter(read or known), "")

    def _unread(self, name: str) -> str | None:
        """Say why the settings do not read an object; None if they do."""
        settings = self._settings
        if name in settings.watched or history.parent_of(name) in settings.watched or name in self._enriched():
            return None
        if settings.object(name).enabled is False:
            return f"the settings say objects.{name}.enabled = false: take that out, then run headrace sync"
        return f"it is none of the watched objects: set objects.{name}.enabled = true, then run headrace sync"

    def _enriched(self) -> set[str]:
        lookups = ((self._known.get(name), one.enrich) for name, one in self._settings.objects.items())
        found = (schema.field(lookup) for schema, enrich in lookups if schema for lookup in enrich)
        return {target for described in found if described for target in described.reference_to}

    def _look_at_object(self) -> None:
        facts, name = self.facts, self.facts.object
        facts.unread = self._unread(name)
        if facts.unread is not None:
            self._say("object", f"{name}, which is not watched")
            return
        if self._source is None:
            self._say("object", f"{name}, which is watched")
            return
        one = parts.watch(self._settings, name)
        try:
            self._schema = catalog.schema_from_describe(self._source.describe(name), only=one.only, exclude=one.exclude)
        except UnknownObjectError as error:
            facts.unread = f"{error} Grant the integration user read access to it (Setup > Permission Sets)."
            self._say("object", f"{name} is watched, but this login does not see it")
            return
        if self._schema is None:
            facts.unread = f"{name} has neither SystemModstamp nor CreatedDate to read it by"
            self._say("object", f"{name}, which can't be read")
            return
        facts.calculated = {f.name for f in self._schema.fields if f.calculated}
        self._say("object", f"{name}, which is watched and readable ({len(self._schema.fields)} fields)")

    # --- the way ------------------------------------------------------------------------------------

    def _look_at_salesforce(self) -> None:
        facts, schema, source = self.facts, self._schema, self._source
        if schema is None or source is None:
            return
        listed = ", ".join(f.name for f in schema.fields)
        [answer] = source.query_pages([f"SELECT {listed} FROM {schema.object} WHERE Id = '{self._id}'"])
        if answer.problem is not None:
            raise answer.problem
        facts.is_asked = True
        if answer.records:
            row = {name: value for name, value in answer.records[0].items() if name != "attributes"}
            facts.version = parse_stamp(row[schema.cursor_field])
            self._shown = reconcile.Shown(self._id, facts.version, row.get("IsDeleted") is True, row)
            state = "deleted (in the recycle bin, merged or archived)" if self._shown.is_deleted else "live"
            self._say("salesforce", f"{state}, version {facts.version}")
            return
        facts.gone_at = self._gone_at(source, schema.object)
        told = (
            f"the delete log says deleted at {facts.gone_at}" if facts.gone_at else "the delete log has no word of it"
        )
        self._say("salesforce", f"no query shows it; {told}")

    def _gone_at(self, source: SalesforceClient, name: str) -> str | None:
        now = source.server_time
        try:
            window = source.deleted(name, shift(now, -_LOG_SECONDS), shift(now, 60))
        except HeadraceError:  # it may not reach so far back, or the object has none: then it tells nothing
            return None
        return next((parse_stamp(at) for record_id, at in window.records if record_id == self._id), None)

    def _look_at_cursor(self) -> None:
        facts = self.facts
        if self._client is None:
            return
        cursor = Publisher(self._client).cursor(facts.object)
        if cursor is None:
            self._say("cursor", f"{facts.object} has never been read")
            return
        facts.is_read = True
        facts.polled_until = latest(cursor.covered_until, cursor.passed_until)
        facts.reading_at = cursor.system_modstamp if cursor.pass_started_at else None
        facts.deleted_until, facts.filling = cursor.deleted_until, {*cursor.filling, *self._new_fields()}
        # Polls begin at the overlap, or where they have stopped, or at the start of a transaction that is still open.
        back_to = [shift(s, -self._settings.poll.overlap_seconds) for s in (cursor.covered_until,) if s]
        if cursor.late_seen and cursor.system_modstamp:
            back_to.append(shift(cursor.system_modstamp, -self._settings.poll.overlap_seconds))
        facts.next_from = earliest(*back_to, cursor.system_modstamp, cursor.open_since)
        facts.is_published = self._is_marked()
        until = f"polled until {facts.polled_until}" if facts.polled_until else "being read for the first time"
        last = f"; last record read: {cursor.system_modstamp}" if cursor.system_modstamp else ""
        known = "; this version has been published" if facts.is_published else ""
        self._say("cursor", f"{until}{last}{known}")

    def _new_fields(self) -> set[str]:
        """Name the fields that Salesforce shows now, and that no description in the store has."""
        known = self._known.get(self.facts.object)
        if known is None or self._schema is None:
            return set()
        return {f.name for f in self._schema.fields}.difference(f.name for f in known.fields)

    def _is_marked(self) -> bool:
        """Tell whether the poller remembers having published the version that Salesforce shows."""
        if self._client is None or self.facts.version is None:
            return False
        with answering(self._client):
            mark: Any = self._client.hget(names.seen_key(self.facts.object), self._id)
        text = mark.decode() if isinstance(mark, bytes) else mark or ""
        return bool(text.startswith(f"{self.facts.version}|"))

    def _look_at_stream(self) -> None:
        if self._client is None:
            return
        stream = names.stream_of(self.facts.object)
        position = next((row["offset"] for row in self._ask(_POSITION, stream=stream)), None)
        if position is None and self._reader is None and not self.facts.store_reached:
            position = groups.lag(self._client, stream).last_delivered
        found = find.find_waiting(self._client, stream, self._subject, position or names.ORIGIN)
        if found.offset is None:
            more = "" if found.is_all else f" among the next {found.looked_at:,} (there are more)"
            self._say("stream", f"no entry of it waits in {stream}{more}")
            return
        at = names.offset_time(found.offset)
        waited = datetime.now(UTC) - datetime.fromisoformat(at) if at else None
        self.facts.waiting_in = stream
        self.facts.waiting_seconds = waited.total_seconds() if waited else 0.0
        self._say("stream", f"entry {found.offset} of {stream} is waiting, {found.looked_at:,} from the front")

    @property
    def _subject(self) -> str:
        return f"{self.facts.object}/{self._id}"

    def _look_at_dead_letters(self) -> None:
        stream = names.stream_of(self.facts.object)
        if self._client is not None:
            letters = [found.letter for found in find.find_dead_of(self._client, stream, self._subject)]
            if letters:
                last = letters[-1]
                self.facts.dead = Dead(last.reason, stream, last.fields.get("time"))
                self._say("dead letters", f"{len(letters)} in {stream}.dead; the last one: {last.reason}")
            return
        for row in self._ask(_DEAD):
            self.facts.dead = Dead(row["reason"], row["stream"], row["version"])
            self._say("dead letters", f"given up: {row['reason']}")

    def _look_at_store(self) -> None:
        stored = self._stored
        if stored is None:
            if self._reader is not None:
                self._say("store", f"salesforce.{self.facts.object.lower()} does not have it")
            return
        state = "deleted" if stored.is_deleted else "live"
        ends = [
            f"{word} {end}"
            for word, name in (("merged into", "MasterRecordId"), ("converted to", "ConvertedContactId"))
            if isinstance(end := stored.fields.get(name), str)
        ]
        self._say("store", ", ".join([f"{state}, version {stored.version}", *ends]))
        for row in self._ask(_CAPTURE):
            self._say("store", f"last seen at {row['seen_at']} (origin {row['origin']}), stored at {row['stored_at']}")
        for sentence in self._people():
            self._say("store", sentence)

    def _people(self) -> Iterator[str]:
        name = self.facts.object
        if name in _SHOWING:
            count = self._ask(_SHOWING[name])[0]["n"]
            yield f"shown by {count:,} {'person' if count == 1 else 'people'}"
        for row in self._ask(_PERSON):
            shown = self._id in (row["contact_id"], row["lead_id"])
            other = row["contact_id"] if name == "Contact" else row["lead_id"]
            yield f"it is the person {row['user_id']}" + ("" if shown or not other else f", who shows {other}")

    def _compare(self) -> None:
        facts, schema, shown = self.facts, self._schema, self._shown
        if schema is None or shown is None or self._stored is None:
            return
        found = reconcile.compare(self._id, shown, self._stored, schema.cursor_field)
        fields = found.fields if found else ()
        # Stamps go by the version; alone they say that the record was saved without another value.
        telling = tuple(name for name in fields if name not in BOOKKEEPING)
        facts.differing = telling or fields
        if not fields:
            self._say("fields", "every field is as in Salesforce")
            return
        calculated = [name for name in facts.differing if name in facts.calculated]
        note = f"; calculated by Salesforce: {whereabouts.named(calculated)}" if calculated else ""
        self._say("fields", f"other than in Salesforce: {whereabouts.named(facts.differing)}{note}")


@dataclass(slots=True)
class _Part:
    """A part of the look: what goes wrong in it is told in its line and remembered."""

    look: _Look
    about: str

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, HeadraceError):
            return False
        self.look.steps.append(Step(self.about, str(error)))
        self.look.problems.append(error)
        return True
