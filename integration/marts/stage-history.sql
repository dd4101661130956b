-- How long opportunities stay in each stage, in days, as far as the changes of their stage are known.
WITH changed AS (
    SELECT c.record_id, c.old_value, c.new_value, c."time",
        row_number() OVER (PARTITION BY c.record_id ORDER BY c."time", e.seen_at, e.event_id) AS place
    FROM changes AS c
    JOIN events AS e USING (event_id)
    WHERE c.object = 'Opportunity' AND c.field = 'StageName'
),
entered AS (
    SELECT o.id AS record_id, o.createddate AS since, 0 AS place,
        CASE WHEN f.record_id IS NULL THEN o.stagename ELSE f.old_value END AS stage
    FROM salesforce.opportunity AS o
    LEFT JOIN changed AS f ON f.record_id = o.id AND f.place = 1
    UNION ALL
    SELECT record_id, "time", place, new_value FROM changed
),
stays AS (
    SELECT record_id, stage, since, lead(since) OVER (PARTITION BY record_id ORDER BY place) AS until FROM entered
)
SELECT
    coalesce(s.stage, '(unknown)') AS stage,
    count(*) AS times_entered,
    count(DISTINCT s.record_id) AS opportunities,
    count(s.until) AS times_left,
    round(avg(epoch(s.until) - epoch(s.since)) / 86400, 1) AS days_on_average,
    round(median(epoch(s.until) - epoch(s.since)) / 86400, 1) AS days_median,
    count(*) FILTER (s.until IS NULL) AS in_it_now
FROM stays AS s
JOIN salesforce.opportunity AS o ON o.id = s.record_id
WHERE NOT o.is_deleted
GROUP BY 1
ORDER BY times_entered DESC, stage
