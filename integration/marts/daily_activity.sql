-- What people did in the product on each day (UTC), by name of the event.
SELECT
    user_id,
    ("time" AT TIME ZONE 'UTC')::DATE AS day,
    name,
    count(*) AS events,
    min("time") AS first_at,
    max("time") AS last_at
FROM events
WHERE origin = 'product' AND {among:user_id} AND name NOT IN {calls}
GROUP BY 1, 2, 3
