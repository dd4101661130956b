WITH seen AS (
  SELECT
    event_id,
    user_id,
    "time",
    JSONExtract(properties, 'context', 'campaign', 'source', 'Nullable(String)') AS utm_source,
    JSONExtract(properties, 'context', 'campaign', 'medium', 'Nullable(String)') AS utm_medium,
    JSONExtract(properties, 'context', 'campaign', 'name', 'Nullable(String)') AS utm_campaign,
    JSONExtract(properties, 'context', 'campaign', 'term', 'Nullable(String)') AS utm_term,
    JSONExtract(properties, 'context', 'campaign', 'content', 'Nullable(String)') AS utm_content,
    JSONExtract(properties, 'context', 'page', 'referrer', 'Nullable(String)') AS referrer,
    JSONExtract(properties, 'context', 'page', 'url', 'Nullable(String)') AS landing_page,
    ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY "time", event_id) AS place
  FROM events AS "events"
  WHERE
    origin = 'product'
    AND NOT (
      user_id IS NULL
    )
    AND NOT (
      name IN ('Identified', 'Group Joined', 'Alias Created')
    )
), told AS (
  SELECT
    *,
    nullIf(
      COALESCE(utm_source, '') || '|' || COALESCE(utm_medium, '') || '|' || COALESCE(utm_campaign, ''),
      '||'
    ) AS campaign
  FROM seen
), known AS (
  SELECT
    *,
    lag("time") OVER (PARTITION BY user_id ORDER BY place) AS last_time,
    MAX(CASE WHEN NOT (
      campaign IS NULL
    ) THEN place END) OVER (
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
      OR (
        toUnixTimestamp64Micro(k."time") / 1000000
      ) - (
        toUnixTimestamp64Micro(k.last_time) / 1000000
      ) > 1800
      THEN 1
      WHEN NOT (
        k.campaign IS NULL
      )
      AND (
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
