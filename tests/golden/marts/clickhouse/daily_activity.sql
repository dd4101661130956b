SELECT
  user_id,
  CAST((
    toTimeZone("time", 'UTC')
  ) AS Nullable(Date32)) AS day,
  name,
  COUNT(*) AS events,
  MIN("time") AS first_at,
  MAX("time") AS last_at
FROM events AS "events"
WHERE
  origin = 'product'
  AND NOT (
    user_id IS NULL
  )
  AND NOT (
    name IN ('Identified', 'Group Joined', 'Alias Created')
  )
GROUP BY
  1,
  2,
  3
