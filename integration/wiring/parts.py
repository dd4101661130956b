"""Settings in, working parts out. Nothing here does work of its own."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import structlog

from consumers.apply import Flattener
from consumers.rules import Rules
from integration.core.catalog import ObjectSchema, schema_from_describe, selected
from integration.core.history import histories_of, parent_of
from integration.errors import ConfigError, UnreachableError
from integration.settings import DEFAULT_OBJECTS, Settings
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.poll import Poller, WatchedObject
from integration.store import opening
from integration.store.hints import did_you_mean
from integration.store.protocol import Store
from integration.store.pseudonyms import Pseudonyms
from integration.store.usage import Usage
from integration.stream import names, orgs
from integration.stream.connection import Client, answering
from integration.stream.pressure import Gate
from integration.stream.publish import Publisher
from integration.wiring.clock import now
from integration.wiring.migrate_mark import refuse_unfinished
from integration.wiring.reading import find_owner, patiently, place, store_password

if TYPE_CHECKING:
    from consumers.members import Defined

log = structlog.get_logger()

# People last: a person's row is made of all the others, so on a first sync it is projected once, not once for each
# deal and role that arrives after it.
_READING_ORDER = ("User", "Account", "Opportunity", "OpportunityContactRole", "Campaign")
_PEOPLE = ("Contact", "Lead")
_NAMES_KEPT = 50_000
"""More than an org has fields; traits that clients of the product make up have no end."""


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """Open the store as its owner, the one process that writes.

    Waits a moment for one who only reads; another owner is there to stay.
    """
    store = patiently(
        lambda: opening.open_store(settings.store.url, password=store_password(settings)),
        lambda error: not error.is_mine and find_owner(settings) is None,
    )
    try:
        refuse_unfinished(store, place(settings))
        yield store
    finally:
        store.close()


def salesforce(settings: Settings) -> SalesforceClient:
    """Return a client of the org; it logs in at its first call."""
    given = settings.salesforce.model_dump(exclude={"api_budget_percent"})
    return SalesforceClient(Connection(**given))


def rules(settings: Settings) -> Rules:
    """Return the settings that decide what the tables say."""

    @lru_cache(_NAMES_KEPT)
    def dropped(object_name: str, field: str) -> bool:
        one = watch(settings, object_name)
        return not selected(field, one.only, one.exclude)

    return Rules(
        enrich={name: tuple(one.enrich) for name, one in settings.objects.items() if one.enrich},
        names={name: dict(one.names) for name, one in settings.objects.items() if one.names},
        match_email=settings.identity.match_email,
        max_cluster=settings.identity.max_cluster,
        dropped=dropped,
        usage=Usage(**settings.usage.model_dump()),
        definitions=lambda: _defined(settings),
        attribution=settings.attribution.rules(),
        pseudonyms=Pseudonyms(
            settings.privacy.pseudonym_key.get_secret_value() if settings.privacy.pseudonym_key else "",
            settings.privacy.pseudonym_columns,
        ),
    )


def _defined(settings: Settings) -> "Defined | None":
    named = settings.definitions.packs or settings.origin("definitions", "folder") != "default"
    if not named and not settings.definitions.folder.is_dir():
        return None
    from integration.wiring import definitions  # its models take a while to import, and most have none

    return definitions.read(settings)


def flattener(settings: Settings, store: Store, client: Client) -> Flattener:
    """Return the flattener of this store; it asks Redis for the descriptions of objects."""

    def fetch(schema_id: str) -> bytes | None:
        with answering(client):
            body = client.hget(names.SCHEMAS_KEY, schema_id)
        return body.encode() if isinstance(body, str) else body

    return Flattener(store, rules(settings), now=now, fetch_schema=fetch)


def poller(
    settings: Settings, source: SalesforceClient, client: Client, gate: Gate | None = None
) -> tuple[Poller, list[ObjectSchema]]:
    """Return a poller that has described its objects, and what it found. Before it publishes it waits at the gate.

    Raises ConfigError when the streams are another org's, or a setting names an object or a lookup field that the org
    does not show. An object that was read before and is hidden now is skipped with a sentence, like every other.
    """
    orgs.claim(client, source.org_id)
    publisher = Publisher(client, gate)
    objects = [*watched_objects(settings), *_enriched(settings, source)]
    objects += _histories(settings, objects)
    objects = [replace(o, required=o.required and publisher.cursor(o.name) is None) for o in objects]
    _check_settings_reach(settings, {o.name for o in objects})
    objects.sort(key=lambda o: _place(o.name))
    found = Poller(source, publisher, objects=objects, overlap_seconds=settings.poll.overlap_seconds, log=log)
    schemas = found.describe()
    for name, sentence in found.skipped.items():
        log.info("object not watched", object=name, detail=sentence)
    return found, schemas


def watched_objects(settings: Settings) -> list[WatchedObject]:
    """List the objects to poll, in reading order; those that a setting switches on must exist in the org."""
    if settings.privacy.hash:
        raise ConfigError(
            "privacy.hash is not in this version yet: leave it empty, and keep those fields out with privacy.exclude."
        )
    return sorted((watch(settings, name) for name in settings.watched), key=lambda o: _place(o.name))


def stream_names(settings: Settings, client: Client, described: Iterable[str] = ()) -> list[str]:
    """List the streams to consume: those of the watched and described objects, and every other one there is."""
    wanted = dict.fromkeys(names.stream_of(name) for name in (*settings.watched, *described))
    with answering(client):
        for key in client.scan_iter(match="crm.*", count=1000, _type="stream"):
            name = key.decode("utf-8", "replace")
            if names.alive_of(name) == name:
                wanted.setdefault(name)
        if client.exists(names.PRODUCT_STREAM):
            wanted.setdefault(names.PRODUCT_STREAM)
    return list(wanted)


def check_budget(settings: Settings, source: SalesforceClient) -> UnreachableError | None:
    """Return an error when the org has used up the share of its daily calls that headrace may bring it to."""
    usage = source.api_usage
    percent = settings.salesforce.api_budget_percent
    if usage is None or not usage[1] or usage[0] * 100 < usage[1] * percent:
        return None
    return UnreachableError(
        f"The org has used {usage[0]:,} of its {usage[1]:,} API calls of the last 24 hours, more than the {percent} % "
        "that salesforce.api_budget_percent allows: polling pauses until calls are free again."
    )


def watch(settings: Settings, name: str) -> WatchedObject:
    """Say how an object is to be read, watched or not: which fields the settings take and leave out."""
    one = settings.object(name)
    private = [
        glob.split(".", 1)[1]
        for glob in settings.privacy.exclude
        if glob.split(".", 1)[0] in (name, "*") and "." in glob
    ]
    private += [glob for glob in settings.privacy.exclude if "." not in glob]
    required = name not in DEFAULT_OBJECTS or one.enabled is True
    return WatchedObject(name, only=tuple(one.fields), exclude=(*one.exclude, *private), required=required)


def _enriched(settings: Settings, source: SalesforceClient) -> list[WatchedObject]:
    """Return the objects that lookups named in `enrich` point at, as far as they are not watched already."""
    added: dict[str, WatchedObject] = {}
    for name, one in settings.objects.items():
        if not one.enrich or name not in settings.watched:
            continue
        schema = schema_from_describe(source.describe(name))
        for lookup in one.enrich:
            field = schema.field(lookup) if schema else None
            if field is None or not field.reference_to:
                raise ConfigError(
                    f"objects.{name}.enrich names {lookup}, which is not a lookup field that the login can read on "
                    f"{name}: correct the name, or grant the integration user access to it."
                )
            added |= {t: watch(settings, t) for t in field.reference_to if t not in settings.watched}
    return list(added.values())


def _histories(settings: Settings, objects: Iterable[WatchedObject]) -> list[WatchedObject]:
    """Return the objects that may hold the field history of these; an org that has none of them is not asked twice."""
    named = {o.name for o in objects}
    found = [h for o in objects for h in histories_of(o.name) if h not in named]
    wanted = [name for name in found if settings.object(name).enabled is not False]
    return [replace(watch(settings, name), required=False, quiet=True) for name in wanted]


def _check_settings_reach(settings: Settings, read: Collection[str]) -> None:
    """Refuse settings for an object that nothing reads: they are a slip of the pen that would change nothing."""
    for name, one in settings.objects.items():
        if name not in read and one.enabled is None:
            hint = did_you_mean(name, [f"objects.{one}" for one in read])
            raise ConfigError(
                f"objects.{name} has settings, but {name} is not watched.{hint} To watch it, set "
                f"objects.{name}.enabled = true."
            )


def _place(name: str) -> tuple[int, str]:
    if parent_of(name) is not None:
        return len(_READING_ORDER) + 3, name  # a history tells of records that are known by then
    if name in _READING_ORDER:
        return _READING_ORDER.index(name), ""
    return (len(_READING_ORDER) + (1 if name in _PEOPLE else 0 if name.endswith("__c") else 2)), name
