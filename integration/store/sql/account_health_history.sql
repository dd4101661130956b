-- How healthy each account was at the end of a day (UTC): a row for each day on which that changed.
SELECT
    name AS health,
    member_id AS account_id,
    CAST(since AT TIME ZONE 'UTC' AS DATE) AS "day",
    CAST(until AT TIME ZONE 'UTC' AS DATE) - 1 AS last_day,
    score,
    value AS state,
    version,
    reasons AS contributions
FROM members
WHERE kind = 'health'
    AND (until IS NULL OR CAST(until AT TIME ZONE 'UTC' AS DATE) > CAST(since AT TIME ZONE 'UTC' AS DATE))
