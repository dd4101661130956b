-- What each opportunity was, from when until when: one row per stretch of time in which nothing of it changed that a
-- forecast looks at. While it was deleted it has none. first_day and last_day are the days (UTC) at whose end it was so.
-- IsClosed and IsWon go with the stage, and history does not tell of them: where no change of theirs is known though the
-- stage has changed since, what they were is not known.
WITH deals AS (
    SELECT o.id, o.createddate, o.is_deleted FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS o WHERE o.id IS NOT NULL
),
held AS (
    SELECT v.record_id, v.field, v.value, v.since, v.until
    FROM (WITH raw AS (SELECT 'Opportunity' AS object, r.id AS record_id, 'AccountId' AS field, 'AccountId' AS property, 'text' AS type, r."accountid" AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals) UNION ALL SELECT 'Opportunity' AS object, r.id AS record_id, 'OwnerId' AS field, 'OwnerId' AS property, 'text' AS type, r."ownerid" AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals) UNION ALL SELECT 'Opportunity' AS object, r.id AS record_id, 'StageName' AS field, 'StageName' AS property, 'text' AS type, r."stagename" AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals) UNION ALL SELECT 'Opportunity' AS object, r.id AS record_id, 'Amount' AS field, 'Amount' AS property, 'decimal' AS type, CAST(r."amount" AS VARCHAR) AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals) UNION ALL SELECT 'Opportunity' AS object, r.id AS record_id, 'CloseDate' AS field, 'CloseDate' AS property, 'date' AS type, CAST(r."closedate" AS VARCHAR) AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals) UNION ALL SELECT 'Opportunity' AS object, r.id AS record_id, 'IsClosed' AS field, 'IsClosed' AS property, 'boolean' AS type, CAST(r."isclosed" AS VARCHAR) AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals) UNION ALL SELECT 'Opportunity' AS object, r.id AS record_id, 'IsWon' AS field, 'IsWon' AS property, 'boolean' AS type, CAST(r."iswon" AS VARCHAR) AS value, r.createddate AS since FROM (SELECT "id", "accountid", "ownerid", "stagename", "amount", "closedate", "createddate", "is_deleted", "isclosed", "iswon" FROM salesforce.opportunity) AS r WHERE r.id IN (SELECT id FROM deals)), 
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
, 
ends AS (
    SELECT
        c.record_id, c.field, c."time", CASE WHEN w.way > 0 THEN c.new_value ELSE c.old_value END AS value, w.way,
        CASE WHEN c.origin = 'history' THEN 0 ELSE 1 END AS is_seen, c.event_id
    FROM changes AS c
    CROSS JOIN (SELECT 1 AS way UNION ALL SELECT -1 AS way) AS w
    WHERE c.record_id IN (SELECT id FROM deals) AND c.field IN ('AccountId', 'OwnerId', 'StageName', 'Amount', 'CloseDate', 'IsClosed', 'IsWon')
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
    LEFT JOIN (SELECT record_id, "time" FROM events WHERE record_id IN (SELECT id FROM deals) AND (name LIKE '% Deleted' OR name LIKE '% Restored' OR name LIKE '% Merged')) AS l
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
) AS v
),
-- It lived before a deletion and after a restoration; behind the last of these it is as it is now.
turns AS (
    SELECT
        e.record_id,
        e."time" AS until,
        CASE WHEN e.name = 'Opportunity Restored' THEN 1 ELSE 0 END AS was_deleted,
        0 AS is_last
    FROM events AS e
    WHERE e.record_id IN (SELECT id FROM deals) AND e.name IN ('Opportunity Deleted', 'Opportunity Restored')
    UNION ALL
    SELECT id AS record_id, NULL::TIMESTAMPTZ AS until, CASE WHEN is_deleted THEN 1 ELSE 0 END AS was_deleted, 1 AS is_last
    FROM deals
),
lives AS (
    SELECT
        record_id, until, was_deleted,
        lag(until) OVER (PARTITION BY record_id ORDER BY is_last, until) AS since
    FROM turns
),
moments AS (
    SELECT record_id, since FROM held WHERE since IS NOT NULL
    UNION
    SELECT record_id, since FROM lives WHERE since IS NOT NULL
),
stretches AS (
    SELECT record_id, since, lead(since) OVER (PARTITION BY record_id ORDER BY since) AS until FROM moments
),
filled AS (
    SELECT
        s.record_id,
        s.since,
        s.until,
        max(CASE WHEN h.field = 'AccountId' THEN h.value END) AS account_id,
        max(CASE WHEN h.field = 'OwnerId' THEN h.value END) AS owner_id,
        max(CASE WHEN h.field = 'StageName' THEN h.value END) AS stage,
        max(CASE WHEN h.field = 'Amount' THEN h.value END) AS amount,
        max(CASE WHEN h.field = 'CloseDate' THEN h.value END) AS close_date,
        max(CASE WHEN h.field = 'IsClosed' THEN h.value END) AS is_closed,
        max(CASE WHEN h.field = 'IsWon' THEN h.value END) AS is_won,
        max(CASE WHEN h.field = 'StageName' AND h.until IS NOT NULL THEN 1 ELSE 0 END) AS has_moved_on,
        max(CASE WHEN h.field = 'IsClosed' AND h.since = d.createddate AND h.until IS NULL THEN 1 ELSE 0 END)
            AS closed_as_ever,
        max(CASE WHEN h.field = 'IsWon' AND h.since = d.createddate AND h.until IS NULL THEN 1 ELSE 0 END) AS won_as_ever
    FROM stretches AS s
    JOIN deals AS d ON d.id = s.record_id
    JOIN lives AS l ON l.record_id = s.record_id
    JOIN held AS h ON h.record_id = s.record_id
    WHERE l.was_deleted = 0
        AND (l.since IS NULL OR l.since <= s.since) AND (l.until IS NULL OR s.since < l.until)
        AND (h.since IS NULL OR h.since <= s.since) AND (h.until IS NULL OR s.since < h.until)
    GROUP BY s.record_id, s.since, s.until
)
SELECT
    record_id AS opportunity_id,
    since,
    until,
    (since AT TIME ZONE 'UTC')::DATE AS first_day,
    (until AT TIME ZONE 'UTC')::DATE - 1 AS last_day,
    account_id,
    owner_id,
    stage,
    CASE WHEN regexp_matches(amount, '^-?[0-9]+([.][0-9]+)?$') THEN CAST(amount AS DECIMAL(38, 12)) END AS amount,
    CASE WHEN regexp_matches(close_date, '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') THEN CAST(close_date AS DATE) END AS close_date,
    CASE
        WHEN has_moved_on + closed_as_ever < 2 THEN CASE is_closed WHEN 'true' THEN true WHEN 'false' THEN false END
    END AS is_closed,
    CASE
        WHEN has_moved_on + won_as_ever < 2 THEN CASE is_won WHEN 'true' THEN true WHEN 'false' THEN false END
    END AS is_won
FROM filled
