-- Which fields change most: all changes that are known, those of the last 30 days, and in how many records.
-- Picture: bars of changes, last_30_days, records by object, field
SELECT
    object,
    field,
    min(property) AS property,
    count(*) AS changes,
    count(*) FILTER ("time" >= now() - INTERVAL 30 DAY) AS last_30_days,
    count(DISTINCT record_id) AS records,
    max("time") AS last_change
FROM changes
GROUP BY object, field
ORDER BY changes DESC, object, field
