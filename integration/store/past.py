"""The SQL of times past: what each field held, whose record a person showed, and so what was known of a person when.

All of it is worked out backwards from what is there now: a value is what the last change before brought, or what the
first change after took away; what never changed is as it is. Values are text, in the forms that `changes` has.
"""

from collections.abc import Mapping, Sequence

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
    return _values(present, "record_id IS NOT NULL", "true")


def values_of(object_name: str, fields: Mapping[str, ColumnType], raw: str, records: str) -> str:
    """Return the SELECT of those rows of `record_values` that are of some fields of some records; no others are looked
    at. The fields go by their API names, and `property` is the same name.

    `raw` is the raw table behind FROM, with `createddate` and a column of each field's type; `records` the SELECT of
    the ids.
    """
    present = [
        f"SELECT {literal(object_name)} AS object, r.id AS record_id, {literal(name)} AS field, "
        f"{literal(name)} AS property, {literal(kind)} AS type, {_written(Kept(0, name.lower(), kind))} AS value, "
        f"r.createddate AS since FROM {raw} AS r WHERE r.id IN ({records})"
        for name, kind in fields.items()
    ]
    among = f"record_id IN ({records})"
    return _values(present, among, f"c.{among} AND c.field IN ({', '.join(map(literal, fields))})")


def _values(present: Sequence[str], lives: str, changes: str) -> str:
    intervals = _INTERVALS.format(lives=lives, changes=changes)
    return f"WITH raw AS ({' UNION ALL '.join(present)}), {_AS_TEXT}, {intervals} {_ANSWER}"


def user_records_view(shape: Shape) -> str:
    """Return the SELECT of the view `user_records`: whose properties a person showed, from when until when."""
    there = [name for name in ("Contact", "Lead") if name in shape.columns]
    members = [_members(name, shape) for name in there]
    present = [f"UNION ALL {_PRESENT.format(_raw(name))}" for name in there]
    return _SHOWN.format(members=" UNION ALL ".join(members) or _NOBODY, present=" ".join(present))


def _present(object_name: str, kept: Sequence[Kept], shape: Shape) -> str:
    """Give a row for each record and field, with the value of now as the store writes it."""
    cases = " ".join(f"WHEN {one.place:d} THEN {_written(one)}" for one in kept)
    places = ", ".join(f"{one.place:d}" for one in kept)
    # The places of traits are counted by themselves.
    fields = (
        "SELECT object, place, field, property, type FROM headrace.properties "
        f"WHERE place IN ({places}) AND object <> 'product'"
    )
    return (
        f"SELECT p.object, r.id AS record_id, p.field, p.property, p.type, CASE p.place {cases} END AS value, "
        f"{_created(object_name, shape)} AS since "
        f"FROM {_raw(object_name)} AS r CROSS JOIN ({fields}) AS p"
    )


def _raw(object_name: str) -> str:
    return table_name(f"salesforce.{object_name.lower()}")


def _written(one: Kept) -> str:
    column = f"r.{identifier(one.column)}"
    if one.type is ColumnType.TEXT:
        return column
    zone = " AT TIME ZONE 'UTC'" if one.type is ColumnType.TIMESTAMP else ""
    return f"CAST({column}{zone} AS VARCHAR)"


def _created(object_name: str, shape: Shape) -> str:
    return "r.createddate" if "createddate" in shape.columns[object_name] else "NULL::TIMESTAMPTZ"


def _members(object_name: str, shape: Shape) -> str:
    """Give a row for each contact or lead with its person of now."""
    columns = shape.columns[object_name]
    stamps = [f"r.{name}" for name in ("createddate", "systemmodstamp") if name in columns]
    created = f"coalesce({', '.join(stamps)})"
    converted = f"CASE WHEN r.isconverted THEN coalesce(c.at, {created}) END" if "isconverted" in columns else _NEVER
    return (
        f"SELECT i.user_id, {literal(object_name)} AS object, r.id AS record_id, {created} AS created, "
        f"{converted} AS converted_at FROM identities AS i "
        f"JOIN {_raw(object_name)} AS r ON r.id = i.alias "
        f'LEFT JOIN (SELECT record_id, max("time") AS at FROM changes WHERE object = {literal(object_name)} '
        "AND field = 'IsConverted' AND new_value = 'true' GROUP BY record_id) AS c ON c.record_id = r.id"
    )


_NEVER = "NULL::TIMESTAMPTZ"
_PRESENT = (
    "SELECT id AS record_id, NULL::TIMESTAMPTZ AS until, CASE WHEN is_deleted THEN 1 ELSE 0 END AS was_deleted, "
    "1 AS is_last FROM {}"
)
# Taken from tables, so that the columns are of the types that they have later, too.
_NOTHING = (
    'SELECT object, record_id, field, property, new_value AS value, "time" AS since, "time" AS until '
    "FROM changes WHERE false"
)
_NOBODY = (
    "SELECT user_id, 'Contact' AS object, alias AS record_id, since AS created, "
    "since AS converted_at FROM identities WHERE false"
)

# Decimals without zeros at their end, times as ISO 8601: as `changes` has them. Said once for all fields: PostgreSQL is
# told this whenever a worker starts.
_AS_TEXT = r"""
plain AS (
    SELECT
        object, record_id, field, property, type, since,
        CASE
            WHEN type IN ('decimal', 'timestamptz') AND value LIKE '%.%' THEN regexp_replace(value, '[.]?0+$', '')
            ELSE value
        END AS value
    FROM raw
),
present AS (
    SELECT
        object, record_id, field, property, since,
        CASE WHEN type = 'timestamptz' THEN replace(value, ' ', 'T') || 'Z' ELSE value END AS value
    FROM plain
)
"""
# What one moment brought a field to. Several changes may have one time, in no order: what they end in is the value
# that is come to more often than left; where nothing is, they went in a circle, and nothing has changed.
#
# A deletion, restoration or merge may change values too, and writes no changes of them: from the last of these on, the
# value is what the next change found. The last value is that of now.
#
# Nothing is read twice where that can be helped: not every store keeps what WITH names.
_INTERVALS = f"""
ends AS (
    SELECT
        c.record_id, c.field, c."time", CASE WHEN w.way > 0 THEN c.new_value ELSE c.old_value END AS value, w.way,
        CASE WHEN c.origin = 'history' THEN 0 ELSE 1 END AS is_seen, c.event_id
    FROM changes AS c
    CROSS JOIN (SELECT 1 AS way UNION ALL SELECT -1 AS way) AS w
    WHERE {{changes}}
),
summed AS (
    SELECT record_id, field, "time", value, sum(way) AS more, max(is_seen) AS is_seen, max(event_id) AS told_by
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
lived AS (
    SELECT
        n.record_id, n.field, n."time", n.value, n.old_value, n.last_time, n.next_time,
        max(CASE
            WHEN n.last_time <= l."time" AND l."time" < n."time" AND n.old_value IS DISTINCT FROM n.last_value
                THEN l."time"
        END) AS turned_before,
        max(CASE WHEN n.next_time IS NULL AND n."time" <= l."time" THEN l."time" END) AS turned_after
    FROM neighbours AS n
    LEFT JOIN (SELECT record_id, "time" FROM events WHERE {{lives}} AND {_LIFE}) AS l
        ON l.record_id = n.record_id
    GROUP BY n.record_id, n.field, n."time", n.value, n.old_value, n.last_time, n.next_time
),
bounded AS (
    SELECT
        record_id, field, "time", value, old_value, last_time, turned_before, turned_after,
        coalesce(
            turned_after, lead(turned_before) OVER (PARTITION BY record_id, field ORDER BY "time"), next_time
        ) AS until
    FROM lived
),
known AS (
    SELECT
        b.record_id, b.field,
        CASE WHEN p.part = 3 THEN b.value ELSE b.old_value END AS value,
        CASE WHEN p.part = 2 THEN b.turned_before WHEN p.part = 3 THEN b."time" WHEN p.part = 4 THEN b.turned_after END
            AS since,
        CASE WHEN p.part < 3 THEN b."time" WHEN p.part = 3 THEN b.until END AS until
    FROM bounded AS b
    CROSS JOIN (
        SELECT 1 AS part UNION ALL SELECT 2 AS part UNION ALL SELECT 3 AS part UNION ALL SELECT 4 AS part
    ) AS p
    WHERE p.part = 3 OR (p.part = 1 AND b.last_time IS NULL) OR (p.part = 2 AND b.turned_before IS NOT NULL)
        OR (p.part = 4 AND b.turned_after IS NOT NULL)
)
"""
_ANSWER = """
SELECT object, record_id, field, property, value, since, until
FROM (
    SELECT
        p.object, p.record_id, p.field, p.property,
        CASE WHEN k.until IS NULL THEN p.value ELSE k.value END AS value,
        coalesce(k.since, p.since) AS since,
        k.until AS until
    FROM present AS p
    LEFT JOIN known AS k ON k.record_id = p.record_id AND k.field = p.field
) AS told
WHERE until IS NULL OR since IS NULL OR since < until
"""

# At every moment at which the choice may have changed, it is made as for `users`: live before deleted, unconverted
# before converted, the earliest, the lowest id; among those of the person's records that were there.
_SHOWN = f"""
WITH phases AS (
    SELECT
        m.user_id, m.object, m.record_id, m.created, m.converted_at, t.until, t.was_deleted,
        lag(t.until) OVER (PARTITION BY m.record_id ORDER BY t.is_last, t.until) AS since,
        min(CASE WHEN m.object = 'Contact' THEN m.created END) OVER (PARTITION BY m.user_id) AS contact_since
    FROM ({{members}}) AS m
    JOIN (
        SELECT
            record_id, "time" AS until, CASE WHEN name LIKE '% Restored' THEN 1 ELSE 0 END AS was_deleted, 0 AS is_last
        FROM events
        WHERE object IN ('Contact', 'Lead') AND {_LIFE}
        {{present}}
    ) AS t ON t.record_id = m.record_id
),
points AS (
    SELECT DISTINCT
        f.user_id, f.object,
        CASE WHEN p.part = 1 THEN coalesce(f.since, f.created) ELSE f.converted_at END AS "time"
    FROM phases AS f
    CROSS JOIN (SELECT 1 AS part UNION ALL SELECT 2 AS part) AS p
    WHERE p.part = 1 OR f.converted_at IS NOT NULL
),
ranked AS (
    SELECT
        p.user_id, p.object, p."time", f.record_id, f.contact_since,
        row_number() OVER (
            PARTITION BY p.user_id, p.object, p."time"
            ORDER BY
                f.was_deleted, CASE WHEN f.converted_at <= p."time" THEN 1 ELSE 0 END, f.created, f.record_id
        ) AS place
    FROM points AS p
    JOIN phases AS f ON f.user_id = p.user_id AND f.object = p.object
    WHERE f.created <= p."time"
        AND (f.since IS NULL OR f.since <= p."time") AND (f.until IS NULL OR p."time" < f.until)
),
chosen AS (
    SELECT
        user_id, object, "time", record_id, contact_since,
        lag(record_id) OVER (PARTITION BY user_id, object ORDER BY "time") AS last_id
    FROM ranked
    WHERE place = 1
),
shown AS (
    SELECT
        user_id, object, record_id, "time" AS since, contact_since,
        lead("time") OVER (PARTITION BY user_id, object ORDER BY "time") AS until
    FROM chosen
    WHERE last_id IS NULL OR last_id <> record_id
),
-- A lead's account counts until there is a contact.
placed AS (
    SELECT
        user_id, record_id, since,
        CASE WHEN object = 'Lead' AND (until IS NULL OR contact_since < until) THEN contact_since ELSE until END
            AS until,
        CASE WHEN object = 'Lead' THEN 'ConvertedAccountId' ELSE 'AccountId' END AS field
    FROM shown
    WHERE object = 'Contact' OR contact_since IS NULL OR since < contact_since
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
