"""The SQL of times past: what each field held, whose record a person showed, and so what was known of a person when.

All of it is worked out backwards from what is there now: a value is what the last change before brought, or what the
first change after took away; what never changed is as it is. Values are text, in the forms that `changes` has.
"""

from collections.abc import Sequence

from integration.core.catalog import BOOKKEEPING
from integration.core.columns import ColumnType
from integration.store.projection import Kept, Shape
from integration.store.quoting import identifier, literal, table_name

UNTOLD = BOOKKEEPING | {"IsDeleted", "MasterRecordId"}
"""Fields whose past nothing tells: no change of them is ever written."""

_LIFE = "(name LIKE '% Deleted' OR name LIKE '% Restored' OR name LIKE '% Merged')"


def record_values_view(shape: Shape) -> str:
    """Return the SELECT of the view `record_values`. Without any object it has its columns and no rows."""
    present = [_present(name, kept, shape) for name, kept in shape.kept.items() if kept and name in shape.columns]
    if not present:
        return _NOTHING
    return f"WITH present AS ({' UNION ALL '.join(present)}), {_INTERVALS} {_ANSWER}"


def user_records_view(shape: Shape) -> str:
    """Return the SELECT of the view `user_records`: whose properties a person showed, from when until when."""
    members = [_members(name, shape) for name in ("Contact", "Lead") if name in shape.columns]
    return _SHOWN.format(members=" UNION ALL ".join(members) or _NOBODY)


def _present(object_name: str, kept: Sequence[Kept], shape: Shape) -> str:
    """Give a row for each record and field, with the value of now as text."""
    cases = " ".join(f"WHEN p.place = {one.place:d} THEN {_text(one)}" for one in kept)
    places = ", ".join(f"{one.place:d}" for one in kept)
    fields = f"SELECT object, place, field, property FROM headrace.properties WHERE place IN ({places})"
    return (
        f"SELECT p.object, r.id AS record_id, p.field, p.property, CASE {cases} END AS value, "
        f"{_created(object_name, shape)} AS since "
        f"FROM {table_name(f'salesforce.{object_name.lower()}')} AS r CROSS JOIN ({fields}) AS p"
    )


def _text(one: Kept) -> str:
    """Return a raw column as `changes` shows its values."""
    column = f"r.{identifier(one.column)}"
    if one.type is ColumnType.TEXT:
        return column
    if one.type is ColumnType.DECIMAL:
        return _without_zeros(f"CAST({column} AS VARCHAR)")
    if one.type is ColumnType.TIMESTAMP:
        moment = _without_zeros(f"CAST({column} AT TIME ZONE 'UTC' AS VARCHAR)")
        return f"replace({moment}, ' ', 'T') || 'Z'"
    return f"CAST({column} AS VARCHAR)"


def _without_zeros(number: str) -> str:
    return f"CASE WHEN {number} LIKE '%.%' THEN regexp_replace({number}, '[.]?0+$', '') ELSE {number} END"


def _created(object_name: str, shape: Shape) -> str:
    return "r.createddate" if "createddate" in shape.columns[object_name] else "NULL::TIMESTAMPTZ"


def _members(object_name: str, shape: Shape) -> str:
    """Give a row for each contact or lead with its person of now."""
    columns = shape.columns[object_name]
    stamps = [f"r.{name}" for name in ("createddate", "systemmodstamp") if name in columns]
    created = f"coalesce({', '.join(stamps)})"
    converted = f"CASE WHEN r.isconverted THEN coalesce(c.at, {created}) END" if "isconverted" in columns else _NEVER
    return (
        f"SELECT i.user_id, {literal(object_name)} AS object, r.id AS record_id, {created} AS created, r.is_deleted, "
        f"{converted} AS converted_at FROM identities AS i "
        f"JOIN {table_name(f'salesforce.{object_name.lower()}')} AS r ON r.id = i.alias "
        f'LEFT JOIN (SELECT record_id, max("time") AS at FROM changes WHERE object = {literal(object_name)} '
        "AND field = 'IsConverted' AND new_value = 'true' GROUP BY record_id) AS c ON c.record_id = r.id"
    )


_NEVER = "NULL::TIMESTAMPTZ"
# Taken from tables, so that the columns are of the types that they have later, too.
_NOTHING = (
    'SELECT object, record_id, field, property, new_value AS value, "time" AS since, "time" AS until '
    "FROM changes WHERE false"
)
_NOBODY = (
    "SELECT user_id, 'Contact' AS object, alias AS record_id, since AS created, false AS is_deleted, "
    "since AS converted_at FROM identities WHERE false"
)

# What one moment brought a field to. Several changes may have one time, in no order: what they end in is the value
# that is come to more often than left; where nothing is, they went in a circle, and nothing has changed.
#
# A deletion, restoration or merge may change values too, and writes no changes of them: from then on, the value is what
# the next change found.
_INTERVALS = f"""
ends AS (
    SELECT record_id, field, "time", old_value AS value, -1 AS way, origin, event_id FROM changes
    UNION ALL
    SELECT record_id, field, "time", new_value AS value, 1 AS way, origin, event_id FROM changes
),
summed AS (
    SELECT
        record_id, field, "time", value, sum(way) AS more,
        max(CASE WHEN origin = 'history' THEN 0 ELSE 1 END) AS is_seen, max(event_id) AS told_by
    FROM ends
    GROUP BY record_id, field, "time", value
    HAVING sum(way) <> 0
),
ranked AS (
    SELECT
        record_id, field, "time", value, more,
        row_number() OVER (
            PARTITION BY record_id, field, "time", CASE WHEN more > 0 THEN 1 ELSE 0 END
            ORDER BY is_seen DESC, told_by DESC, coalesce(value, '')
        ) AS place
    FROM summed
),
edits AS (
    SELECT
        record_id, field, "time",
        max(CASE WHEN more > 0 THEN value END) AS value,
        max(CASE WHEN more < 0 THEN value END) AS old_value
    FROM ranked
    WHERE place = 1
    GROUP BY record_id, field, "time"
),
neighbours AS (
    SELECT
        record_id, field, "time", value, old_value,
        lag("time") OVER (PARTITION BY record_id, field ORDER BY "time") AS last_time,
        lag(value) OVER (PARTITION BY record_id, field ORDER BY "time") AS last_value,
        lead("time") OVER (PARTITION BY record_id, field ORDER BY "time") AS next_time
    FROM edits
),
lives AS (
    SELECT DISTINCT record_id, "time" FROM events WHERE record_id IS NOT NULL AND {_LIFE}
),
points AS (
    SELECT record_id, field, "time", value, 1 AS weight FROM neighbours
    UNION ALL
    SELECT n.record_id, n.field, l."time", n.old_value AS value, 2 AS weight
    FROM neighbours AS n
    JOIN lives AS l ON l.record_id = n.record_id
    WHERE n.last_time <= l."time" AND l."time" < n."time" AND n.old_value IS DISTINCT FROM n.last_value
    UNION ALL
    SELECT n.record_id, n.field, l."time", NULL AS value, 2 AS weight
    FROM neighbours AS n
    JOIN lives AS l ON l.record_id = n.record_id
    WHERE n.next_time IS NULL AND n."time" <= l."time"
),
single AS (
    SELECT
        record_id, field, "time", value,
        row_number() OVER (PARTITION BY record_id, field, "time" ORDER BY weight DESC) AS place
    FROM points
),
known AS (
    SELECT
        record_id, field, "time" AS since, value, 0 AS is_first,
        lead("time") OVER (PARTITION BY record_id, field ORDER BY "time") AS until
    FROM single
    WHERE place = 1
    UNION ALL
    SELECT record_id, field, NULL AS since, old_value AS value, 1 AS is_first, "time" AS until
    FROM neighbours
    WHERE last_time IS NULL
)
"""
_ANSWER = """
SELECT object, record_id, field, property, value, since, until
FROM (
    SELECT
        p.object, p.record_id, p.field, p.property,
        CASE WHEN k.until IS NULL THEN p.value ELSE k.value END AS value,
        CASE WHEN k.is_first = 0 THEN k.since ELSE p.since END AS since,
        k.until AS until
    FROM present AS p
    LEFT JOIN known AS k ON k.record_id = p.record_id AND k.field = p.field
) AS told
WHERE until IS NULL OR since IS NULL OR since < until
"""

# At every moment at which the choice may have changed, it is made as for `users`: live before deleted, unconverted
# before converted, the earliest, the lowest id; among those of the person's records that were there.
_SHOWN = f"""
WITH members AS ({{members}}),
turns AS (
    SELECT
        record_id, "time", CASE WHEN name LIKE '% Restored' THEN 1 ELSE 0 END AS was_deleted,
        lag("time") OVER (PARTITION BY record_id ORDER BY "time", event_id) AS since
    FROM events
    WHERE object IN ('Contact', 'Lead') AND {_LIFE}
),
standings AS (
    SELECT record_id, since, "time" AS until, was_deleted FROM turns
    UNION ALL
    SELECT m.record_id, t.since, NULL AS until, CASE WHEN m.is_deleted THEN 1 ELSE 0 END AS was_deleted
    FROM members AS m
    LEFT JOIN (SELECT record_id, max("time") AS since FROM turns GROUP BY record_id) AS t ON t.record_id = m.record_id
),
points AS (
    SELECT user_id, object, created AS "time" FROM members
    UNION
    SELECT m.user_id, m.object, t."time" FROM members AS m JOIN turns AS t ON t.record_id = m.record_id
    UNION
    SELECT user_id, object, converted_at AS "time" FROM members WHERE converted_at IS NOT NULL
),
ranked AS (
    SELECT
        p.user_id, p.object, p."time", m.record_id,
        row_number() OVER (
            PARTITION BY p.user_id, p.object, p."time"
            ORDER BY
                s.was_deleted, CASE WHEN m.converted_at <= p."time" THEN 1 ELSE 0 END, m.created, m.record_id
        ) AS place
    FROM points AS p
    JOIN members AS m ON m.user_id = p.user_id AND m.object = p.object
    JOIN standings AS s ON s.record_id = m.record_id
    WHERE m.created <= p."time"
        AND (s.since IS NULL OR s.since <= p."time") AND (s.until IS NULL OR p."time" < s.until)
),
chosen AS (
    SELECT
        user_id, object, "time", record_id,
        lag(record_id) OVER (PARTITION BY user_id, object ORDER BY "time") AS last_id
    FROM ranked
    WHERE place = 1
),
shown AS (
    SELECT
        user_id, object, record_id, "time" AS since,
        lead("time") OVER (PARTITION BY user_id, object ORDER BY "time") AS until
    FROM chosen
    WHERE last_id IS NULL OR last_id <> record_id
),
-- A lead's account counts until there is a contact.
placed AS (
    SELECT user_id, record_id, since, until, 'AccountId' AS field FROM shown WHERE object = 'Contact'
    UNION ALL
    SELECT s.user_id, s.record_id, s.since,
        CASE WHEN s.until IS NULL OR f.since < s.until THEN f.since ELSE s.until END AS until,
        'ConvertedAccountId' AS field
    FROM shown AS s
    LEFT JOIN (SELECT user_id, min(since) AS since FROM shown WHERE object = 'Contact' GROUP BY user_id) AS f
        ON f.user_id = s.user_id
    WHERE s.object = 'Lead' AND (f.since IS NULL OR s.since < f.since)
),
belonged AS (
    SELECT
        p.user_id, v.value AS record_id,
        CASE WHEN v.since > p.since THEN v.since ELSE p.since END AS since,
        CASE WHEN p.until IS NULL OR v.until < p.until THEN v.until ELSE p.until END AS until
    FROM placed AS p
    JOIN (
        SELECT record_id, field, value, since, until FROM record_values
        WHERE field IN ('AccountId', 'ConvertedAccountId') AND object IN ('Contact', 'Lead')
    ) AS v ON v.record_id = p.record_id AND v.field = p.field
    WHERE v.value IS NOT NULL
        AND (v.until IS NULL OR p.since < v.until) AND (p.until IS NULL OR v.since IS NULL OR v.since < p.until)
)
SELECT user_id, object, record_id, since, until FROM shown
UNION ALL
SELECT user_id, 'Account' AS object, record_id, since, until FROM belonged
UNION ALL
SELECT user_id, 'Opportunity' AS object, opportunity_id AS record_id, NULL::TIMESTAMPTZ AS since,
    NULL::TIMESTAMPTZ AS until
FROM headrace.people
WHERE opportunity_id IS NOT NULL
"""
