-- The stages of each opportunity: in which it was from when until when.
WITH changed AS (
    SELECT
        c.record_id, c.old_value, c.new_value, c."time",
        row_number() OVER (PARTITION BY c.record_id ORDER BY c."time", e.seen_at, e.event_id) AS place
    FROM changes AS c
    JOIN events AS e ON e.event_id = c.event_id
    WHERE c.object = 'Opportunity' AND c.field = 'StageName' AND c.record_id IS NOT NULL
),
entered AS (
    SELECT
        o.id AS record_id,
        o.createddate AS since,
        0 AS place,
        CASE WHEN f.record_id IS NULL THEN o.stagename ELSE f.old_value END AS stage
    FROM (SELECT "id", "stagename", "createddate" FROM salesforce.opportunity) AS o
    LEFT JOIN changed AS f ON f.record_id = o.id AND f.place = 1
    WHERE o.id IS NOT NULL
    UNION ALL
    SELECT record_id, "time", place, new_value FROM changed
)
SELECT
    record_id AS opportunity_id,
    place,
    stage,
    since,
    lead(since) OVER (PARTITION BY record_id ORDER BY place) AS until,
    lag(stage) OVER (PARTITION BY record_id ORDER BY place) AS stage_before
FROM entered
