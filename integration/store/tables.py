"""The tables every store has, and their columns: the same lists create the tables and write their rows.

Properties (`users`) and raw tables (`salesforce.*`) grow with the org; see Transaction.ensure_columns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files

from integration.core.columns import Column, ColumnType
from integration.core.rows import TOLD_AROUND
from integration.store import past, usage
from integration.store.attribution import Attribution
from integration.store.markers import DEFAULT, Reads, rendered
from integration.store.projection import Shape, accounts_view
from integration.store.quoting import literal
from integration.store.worth import worth

SCHEMA_VERSION = 2
"""Raised when a table below changes in a way that an older headrace could not read.

2: the payloads of `headrace.states` are without the names of their fields, which `headrace.layouts` keeps.
"""


def _columns(kind: ColumnType, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name in names)


def _texts(*names: str) -> tuple[Column, ...]:
    return _columns(ColumnType.TEXT, *names)


def _times(*names: str) -> tuple[Column, ...]:
    return _columns(ColumnType.TIMESTAMP, *names)


def _numbers(*names: str) -> tuple[Column, ...]:
    return _columns(ColumnType.INTEGER, *names)


_IS_DELETED = Column("is_deleted", ColumnType.BOOLEAN)
_PAYLOAD = Column("payload", ColumnType.BYTES_AS_TEXT)

ROLL_UPS: Sequence[Column] = (
    *_numbers("sfdc_opportunity_count", "sfdc_opportunity_open_count"),
    Column("sfdc_opportunity_open_amount", ColumnType.DECIMAL),
    *_numbers("sfdc_opportunity_won_count"),
    Column("sfdc_opportunity_won_amount", ColumnType.DECIMAL),
)
"""Counts and sums of the opportunities of a person or an account."""

USERS: Sequence[Column] = (
    *_texts("user_id", "identity", "email", "contact_id", "lead_id", "account_id", "owner_id"),
    *_times("first_seen", "updated_at"),
    _IS_DELETED,
)
FIXED_OF_USERS: Sequence[str] = tuple(c.name for c in (*USERS, *ROLL_UPS))
"""The columns of `users` that are no properties: they come from headrace.people, the others from raw tables."""
PEOPLE: Sequence[Column] = (*USERS, *_texts("opportunity_id"), *ROLL_UPS)
"""Which records a row of `users` is copied from (see projection.users_select), and what is not copied."""
TRAITS: Sequence[Column] = _texts("user_id")
"""What the product tells of people, of those it tells of: a column of text for each trait, as in `users`."""
EVENTS: Sequence[Column] = (
    *_texts("event_id"),
    *_times("time"),
    *_texts("name", "user_id", "account_id", "source", "object", "record_id", "actor_id", "origin"),
    *_times("seen_at", "stored_at"),
    Column("properties", ColumnType.JSON),
    *_texts("alias"),
)
CHANGES: Sequence[Column] = (
    *_texts("event_id"),
    *_times("time"),
    *_texts("object", "record_id", "user_id", "account_id", "field", "property", "old_value", "new_value"),
    *_texts("actor_id", "origin", "alias"),
)
IDENTITIES: Sequence[Column] = (*_texts("alias", "kind", "user_id"), *_times("since"), *_texts("why"))
CAPTURES: Sequence[Column] = (
    *_texts("capture_id", "object", "record_id"),
    *_times("version"),
    *_texts("origin", "stream", "offset"),
    *_times("seen_at", "stored_at"),
    _PAYLOAD,
)
SYNC_RUNS: Sequence[Column] = (
    *_texts("run_id"),
    *_times("started_at", "ended_at"),
    *_texts("kind"),
    *_numbers("records_read", "captures_published", "events_written", "users_written", "dead_letters", "api_calls"),
    *_texts("outcome"),
)
RECONCILIATIONS: Sequence[Column] = (
    *_texts("run_id", "object"),
    *_times("started_at", "ended_at"),
    *_numbers("source_count", "store_count", "missing", "stale", "ghosts", "repaired", "api_calls"),
    *_texts("kind"),
)
"""`kind` is `sweep`, or `reread` for a round over an object's formulas."""
SCHEMA_LOG: Sequence[Column] = (
    *_times("at"),
    *_texts("object", "field", "column_name", "property", "kind", "type", "note"),
)
DEAD_LETTERS: Sequence[Column] = (
    *_texts("stream", "offset", "reason"),
    *_times("first_tried_at", "last_tried_at"),
    *_numbers("deliveries"),
    Column("entry", ColumnType.JSON),
    *_texts("settled"),
    *_times("settled_at"),
)
"""`settled` is `retried` or `dropped`, null for a letter that lies in `<stream>.dead` still."""

STATES: Sequence[Column] = (
    *_texts("object", "record_id"),
    *_times("version"),
    _IS_DELETED,
    *_texts("schema_id"),
    _PAYLOAD,
)
LAYOUTS: Sequence[Column] = (*_texts("layout"), Column("names", ColumnType.JSON))
POSITIONS: Sequence[Column] = (*_texts("stream", "offset"), *_times("updated_at"))
SCHEMAS: Sequence[Column] = (*_texts("schema_id", "object"), Column("body", ColumnType.JSON), *_times("since"))
PROPERTIES: Sequence[Column] = (
    *_numbers("place"),
    *_texts("object", "field", "prefix_object", "property", "column_name", "type"),
    *_numbers("precision", "scale"),
    *_times("since"),
)
MEMBERSHIPS: Sequence[Column] = (
    *_texts("record_id", "alias", "kind", "target_id"),
    *_times("since", "until"),
)
"""`record_id` is the record that says so; the person `alias` belonged to the account or opportunity `target_id`."""
SIGHTINGS: Sequence[Column] = (
    *_texts("product_id", "kind", "first_seen", "email", "email_at", "email_key", "follows", "follows_at"),
    Column("traits", ColumnType.JSON),
)
"""What product events tell of each product id (integration.core.product.Sighting). Times are text, to the letter."""
META: Sequence[Column] = _texts("key", "value")
STALE: Sequence[Column] = (*_texts("kind", "key"), *_times("since"))
"""Keys that the marts are to be worked out anew for (integration.store.marts). One may stand there more than once."""

MEMBERS: Sequence[Column] = (
    *_texts("kind", "name", "subject", "member_id", "value"), Column("score", ColumnType.DECIMAL, scale=4),
    *_times("since", "until"), *_texts("version"), Column("reasons", ColumnType.JSON), *_texts("ended_because"),
)  # fmt: skip
"""Of whom a definition was true from when until when; `until` is null while it is. `value` is the stage of a journey,
the arm of a cohort or the state of a health, `score` the confidence of a persona or the score of a health."""
DEFINITIONS: Sequence[Column] = (
    *_texts("kind", "name", "version", "title"), *_times("since", "until"), Column("body", ColumnType.JSON),
    *_times("run_at"), *_numbers("size"), *_texts("problem", "notice"),
)  # fmt: skip
"""Each version of each definition, what came of its last run, and what is to be known of it."""
CONTRIBUTIONS: Sequence[Column] = (
    *_texts("score_id", "health", "account_id", "metric"),
    Column("contribution", ColumnType.DECIMAL, scale=4), Column("most", ColumnType.DECIMAL, scale=4),
)  # fmt: skip
"""What each metric adds to the health of an account now, and what it can add."""
LISTS: Sequence[Column] = _texts("list_name", "kind", "value")
"""Who stands on the lists that audiences leave out: e-mails, ids and domains, by their kind."""

_WAYS: Sequence[Column] = _texts(
    "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "referrer", "landing_page"
)
_DEAL: Sequence[Column] = (
    Column("amount", ColumnType.DECIMAL),
    *_times("created_at"),
    *_columns(ColumnType.BOOLEAN, "is_won", "is_closed"),
)
MARTS: Mapping[str, Sequence[Column]] = {
    "sessions": (
        *_texts("session_id", "user_id"), *_times("time", "ended_at"), *_numbers("events"), *_WAYS,
    ),
    "touches": (
        *_texts("touch_id", "user_id"), *_times("time"), *_texts("channel"), *_WAYS,
        *_numbers("place", "place_from_last", "place_from_last_campaign"),
    ),
    "daily_activity": (
        *_texts("user_id"), Column("day", ColumnType.DATE), *_texts("name"), *_numbers("events"),
        *_times("first_at", "last_at"),
    ),
    "opportunity_stage_history": (
        *_texts("opportunity_id"), *_numbers("place"), *_texts("stage"), *_times("since", "until"),
        *_texts("stage_before"),
    ),
    "opportunity_spans": (
        *_texts("opportunity_id"), *_times("since", "until"), *_columns(ColumnType.DATE, "first_day", "last_day"),
        *_texts("account_id", "owner_id", "stage"), Column("amount", ColumnType.DECIMAL),
        Column("close_date", ColumnType.DATE), *_columns(ColumnType.BOOLEAN, "is_closed", "is_won"),
    ),
    "attribution": (
        *_texts("opportunity_id", "account_id", "model", "touch_id", "user_id"), *_times("time"),
        *_texts("channel", "utm_source", "utm_medium", "utm_campaign"), Column("weight", ColumnType.DECIMAL, scale=6),
        *_DEAL,
    ),
    "campaign_influence": (
        *_texts("opportunity_id", "account_id", "campaign_id", "member_id", "contact_id"), *_times("time"),
        *_numbers("days_before"), Column("has_responded", ColumnType.BOOLEAN), *_DEAL,
    ),
    "opportunity_source": (
        *_texts("opportunity_id", "account_id", "opportunity_source", "source_origin", "source_rule", "lead_id"),
        *_texts("lead_source", "own_lead_source", "outbound_contact_id"), *_times("outbound_at"),
        *_texts("primary_campaign_id"),
        *_DEAL,
    ),
    "headrace.lead_accounts": (
        *_texts("lead_id"), *_numbers("place"), *_texts("account_id", "how"),
        Column("confidence", ColumnType.DECIMAL), *_numbers("candidates"),
    ),
    "headrace.pseudonyms": _texts("account_id", "pseudonym", "industry", "size"),
    "touchpoints": (
        *_texts("user_id"), *_numbers("place"), *_times("time"), *_texts("kind", "touchpoint_id", "campaign_id"),
    ),
}  # fmt: skip
"""The tables of the marts: worked out from the others, and not until somebody has time for it."""

FIXED: Mapping[str, Sequence[Column]] = {
    "users": (*USERS, *ROLL_UPS),
    "events": EVENTS,
    "changes": CHANGES,
    "identities": IDENTITIES,
    "captures": CAPTURES,
    "sync_runs": SYNC_RUNS,
    "reconciliations": RECONCILIATIONS,
    "schema_log": SCHEMA_LOG,
    "dead_letters": DEAD_LETTERS,
    "headrace.states": STATES,
    "headrace.layouts": LAYOUTS,
    "headrace.positions": POSITIONS,
    "headrace.schemas": SCHEMAS,
    "headrace.properties": PROPERTIES,
    "headrace.memberships": MEMBERSHIPS,
    "headrace.people": PEOPLE,
    "headrace.traits": TRAITS,
    "headrace.sightings": SIGHTINGS,
    "headrace.meta": META,
    "headrace.stale": STALE,
    "members": MEMBERS,
    "definitions": DEFINITIONS,
    "health_contributions": CONTRIBUTIONS,
    "headrace.lists": LISTS,
    **MARTS,
}
"""Every table that is there from the start."""

SCHEMAS_OF_TABLES: Sequence[str] = ("headrace", "salesforce")
_FIRST_TOUCHPOINTS: Reads = {"Contact": _texts("id", "leadsource"), "Lead": _texts("id", "leadsource")}


def _file(name: str) -> str:
    return files("integration.store").joinpath("sql", f"{name}.sql").read_text("utf-8")


OF_THE_ORG: Mapping[str, Callable[[Shape], str]] = {
    "accounts": accounts_view,
    "record_values": past.record_values_view,
    "user_records": past.user_records_view,
    "account_health": lambda shape: _file("account_health").replace("{worth}", worth(shape)),
}
"""Views that depend on which objects and fields there are, each before those that read it."""
OF_THE_RULES: Mapping[str, Callable[[Shape, Attribution], str]] = {
    "first_touchpoints": lambda shape, rules: rendered(
        _file("first_touchpoints"), _FIRST_TOUCHPOINTS, shape.columns, rules=rules
    ),
}
"""Views that depend on the rules of attribution besides: they are drawn with the marts."""
VIEWS: Sequence[str] = (
    *OF_THE_ORG, *OF_THE_RULES, "user_values", "user_events", "user_touches", "attribution_summary",
    "pipeline_snapshot", "lead_account_guesses", "public_accounts", usage.VIEW,
    "audience_members", "persona_members", "journey_stages", "cohort_members",
    "account_health_history", "member_counts",
)  # fmt: skip
"""Views of headrace's own; no event may take their names."""


def view_sql(name: str) -> str:
    """Return the SELECT of one of headrace's own views, as it is in a new store."""
    if name in OF_THE_ORG:
        return OF_THE_ORG[name](Shape())
    if name in OF_THE_RULES:
        return OF_THE_RULES[name](Shape(), DEFAULT)
    if name == usage.VIEW:
        return usage.usage_view(usage.Usage(), ())
    return _file(name)


def event_view(name: str) -> str:
    """Return the SELECT of the view of an event name."""
    return f"SELECT * FROM events WHERE name = {literal(name)}"


def product_event_view(names: Iterable[str]) -> str:
    """Return the SELECT of the view of a product event: of all names that the view's own name stands for."""
    around = (f"properties->>'$.context.{place}' AS {column}" for column, place in TOLD_AROUND.items())
    listed = ", ".join(literal(name) for name in sorted(names))
    return f"SELECT *, {', '.join(around)} FROM events WHERE name IN ({listed})"


def names() -> Iterable[str]:
    """List the names in the schema of people that belong to headrace's own tables and views."""
    return (*(name for name in FIXED if "." not in name), *VIEWS)
