-- What each opportunity was, from when until when: one row per stretch of time in which nothing of it changed that a
-- forecast looks at. While it was deleted it has none. first_day and last_day are the days (UTC) at whose end it was so.
-- IsClosed and IsWon go with the stage, and history does not tell of them: where no change of theirs is known though the
-- stage has changed since, what they were is not known.
WITH deals AS (
    SELECT o.id, o.createddate, o.is_deleted FROM {salesforce.opportunity} AS o WHERE {among:o.id}
),
held AS (
    SELECT v.record_id, v.field, v.value, v.since, v.until
    FROM {past.Opportunity:AccountId,OwnerId,StageName,Amount,CloseDate,IsClosed,IsWon:deals} AS v
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
