-- Visits to the product: what one person did without a break of more than 30 minutes.
-- Who comes back from another campaign begins another visit.
WITH seen AS (
    SELECT
        event_id, user_id, "time",
        properties->>'$.context.campaign.source' AS utm_source,
        properties->>'$.context.campaign.medium' AS utm_medium,
        properties->>'$.context.campaign.name' AS utm_campaign,
        properties->>'$.context.campaign.term' AS utm_term,
        properties->>'$.context.campaign.content' AS utm_content,
        properties->>'$.context.page.referrer' AS referrer,
        properties->>'$.context.page.url' AS landing_page,
        row_number() OVER (PARTITION BY user_id ORDER BY "time", event_id) AS place
    FROM events
    WHERE origin = 'product' AND {among:user_id} AND name NOT IN {calls}
),
told AS (
    SELECT
        *,
        nullif(coalesce(utm_source, '') || '|' || coalesce(utm_medium, '') || '|' || coalesce(utm_campaign, ''), '||')
            AS campaign
    FROM seen
),
-- The campaign that somebody came from last, and when they did anything last.
known AS (
    SELECT
        *,
        lag("time") OVER (PARTITION BY user_id ORDER BY place) AS last_time,
        max(CASE WHEN campaign IS NOT NULL THEN place END)
            OVER (PARTITION BY user_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS last_from
    FROM told
),
marked AS (
    SELECT
        k.*,
        CASE
            WHEN k.last_time IS NULL OR epoch(k."time") - epoch(k.last_time) > 1800 THEN 1
            WHEN k.campaign IS NOT NULL AND (t.campaign IS NULL OR k.campaign <> t.campaign) THEN 1
            ELSE 0
        END AS begins
    FROM known AS k
    LEFT JOIN told AS t ON t.user_id = k.user_id AND t.place = k.last_from
),
numbered AS (
    SELECT
        *,
        sum(begins) OVER (PARTITION BY user_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS visit
    FROM marked
)
SELECT
    max(CASE WHEN begins = 1 THEN event_id END) AS session_id,
    user_id,
    min("time") AS "time",
    max("time") AS ended_at,
    count(*) AS events,
    max(CASE WHEN begins = 1 THEN utm_source END) AS utm_source,
    max(CASE WHEN begins = 1 THEN utm_medium END) AS utm_medium,
    max(CASE WHEN begins = 1 THEN utm_campaign END) AS utm_campaign,
    max(CASE WHEN begins = 1 THEN utm_term END) AS utm_term,
    max(CASE WHEN begins = 1 THEN utm_content END) AS utm_content,
    max(CASE WHEN begins = 1 THEN referrer END) AS referrer,
    max(CASE WHEN begins = 1 THEN landing_page END) AS landing_page
FROM numbered
GROUP BY user_id, visit
