WITH seen AS (
  SELECT
    event_id,
    user_id,
    "time",
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'campaign', 'source') AS utm_source,
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'campaign', 'medium') AS utm_medium,
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'campaign', 'name') AS utm_campaign,
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'campaign', 'term') AS utm_term,
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'campaign', 'content') AS utm_content,
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'page', 'referrer') AS referrer,
    JSON_EXTRACT_PATH_TEXT(properties, 'context', 'page', 'url') AS landing_page,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY "time", event_id) AS place
  FROM events
  WHERE
    origin = 'product'
    AND NOT user_id IS NULL
    AND NOT name IN ('Identified', 'Group Joined', 'Alias Created')
), told AS (
  SELECT
    *,
    NULLIF(
      COALESCE(utm_source, '') || '|' || COALESCE(utm_medium, '') || '|' || COALESCE(utm_campaign, ''),
      '||'
    ) AS campaign
  FROM seen
), known AS (
  SELECT
    *,
    LAG("time") OVER (PARTITION BY user_id ORDER BY place) AS last_time,
    MAX(CASE WHEN NOT campaign IS NULL THEN place END) OVER (
      PARTITION BY user_id
      ORDER BY place
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS last_from
  FROM told
), marked AS (
  SELECT
    k.*,
    CASE
      WHEN k.last_time IS NULL
      OR DATE_PART('epoch', k."time") - DATE_PART('epoch', k.last_time) > 1800
      THEN 1
      WHEN NOT k.campaign IS NULL AND (
        t.campaign IS NULL OR k.campaign <> t.campaign
      )
      THEN 1
      ELSE 0
    END AS begins
  FROM known AS k
  LEFT JOIN told AS t
    ON t.user_id = k.user_id AND t.place = k.last_from
), numbered AS (
  SELECT
    *,
    SUM(begins) OVER (
      PARTITION BY user_id
      ORDER BY place
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS visit
  FROM marked
)
SELECT
  MAX(CASE WHEN begins = 1 THEN event_id END) AS session_id,
  user_id,
  MIN("time") AS "time",
  MAX("time") AS ended_at,
  COUNT(*) AS events,
  MAX(CASE WHEN begins = 1 THEN utm_source END) AS utm_source,
  MAX(CASE WHEN begins = 1 THEN utm_medium END) AS utm_medium,
  MAX(CASE WHEN begins = 1 THEN utm_campaign END) AS utm_campaign,
  MAX(CASE WHEN begins = 1 THEN utm_term END) AS utm_term,
  MAX(CASE WHEN begins = 1 THEN utm_content END) AS utm_content,
  MAX(CASE WHEN begins = 1 THEN referrer END) AS referrer,
  MAX(CASE WHEN begins = 1 THEN landing_page END) AS landing_page
FROM numbered
GROUP BY
  user_id,
  visit
