-- Events as seen from a person: one row per person and event.
-- Own events first (via = 'self'), then those of opportunities and of the account, each while the person belonged there.
WITH stays AS (
    SELECT DISTINCT
        i.user_id,
        m.kind,
        m.target_id,
        m.since,
        m.until
    FROM headrace.memberships AS m
    JOIN identities AS i ON i.alias = m.alias
),
seen AS (
    SELECT s.user_id, e.event_id, 'opportunity' AS via
    FROM events AS e
    JOIN stays AS s ON s.target_id = e.record_id
    WHERE s.kind = 'opportunity' AND e.object = 'Opportunity'
        AND (s.since IS NULL OR e.time >= s.since) AND (s.until IS NULL OR e.time < s.until)
        AND e.user_id IS DISTINCT FROM s.user_id
    UNION ALL
    SELECT s.user_id, e.event_id, 'account' AS via
    FROM events AS e
    JOIN stays AS s ON s.target_id = e.account_id
    WHERE s.kind = 'account' AND e.user_id IS NULL
        AND (s.since IS NULL OR e.time >= s.since) AND (s.until IS NULL OR e.time < s.until)
),
-- 'opportunity' is the greater word: it wins where an event is seen both ways.
chosen AS (
    SELECT user_id, event_id, max(via) AS via FROM seen GROUP BY user_id, event_id
)
SELECT
    event_id, "time", name, user_id, account_id, source, object, record_id, actor_id, origin, seen_at, stored_at,
    properties, alias, 'self' AS via
FROM events
WHERE user_id IS NOT NULL
UNION ALL
SELECT
    e.event_id, e."time", e.name, c.user_id, e.account_id, e.source, e.object, e.record_id, e.actor_id, e.origin,
    e.seen_at, e.stored_at, e.properties, e.alias, c.via
FROM chosen AS c
JOIN events AS e ON e.event_id = c.event_id
