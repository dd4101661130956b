-- Events of each of the last 30 days (UTC), the changes in them, and how many people they are about.
WITH days AS (
    SELECT unnest(generate_series(today - INTERVAL 29 DAY, today, INTERVAL 1 DAY))::DATE AS day
    FROM (SELECT (now() AT TIME ZONE 'UTC')::DATE AS today)
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
