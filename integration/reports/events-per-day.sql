-- Events of each of the last 30 days (UTC), the changes in them, and how many people they are about.
-- Picture: lines of events, changed_fields, people over day
WITH ones AS (
    SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
),
tens AS (
    SELECT 0 AS n UNION ALL SELECT 10 UNION ALL SELECT 20
),
days AS (
    SELECT (now() AT TIME ZONE 'UTC')::DATE - (tens.n + ones.n) AS day FROM tens CROSS JOIN ones
),
changed AS (
    SELECT event_id, count(*) AS fields FROM changes WHERE "time" >= now() - INTERVAL 31 DAY GROUP BY event_id
),
happened AS (
    SELECT
        (e."time" AT TIME ZONE 'UTC')::DATE AS day,
        count(*) AS events,
        coalesce(sum(c.fields), 0)::BIGINT AS changed_fields,
        count(DISTINCT e.user_id) AS people
    FROM events AS e
    LEFT JOIN changed AS c USING (event_id)
    WHERE e."time" >= now() - INTERVAL 31 DAY
    GROUP BY 1
)
SELECT
    day,
    coalesce(h.events, 0) AS events,
    coalesce(h.changed_fields, 0) AS changed_fields,
    coalesce(h.people, 0) AS people
FROM days
LEFT JOIN happened AS h USING (day)
ORDER BY day DESC
