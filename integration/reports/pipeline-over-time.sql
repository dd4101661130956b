-- The open pipeline at the end of each of the last 26 weeks (Sundays, UTC, and now), by stage: opportunities and amount.
-- Picture: lines of amount over week, stage
SELECT
    CAST(date_trunc('week', day) AS DATE) AS week,
    coalesce(stage, '(unknown)') AS stage,
    count(*) AS opportunities,
    coalesce(sum(amount), 0) AS amount
FROM pipeline_snapshot
WHERE is_open
    AND day >= (now() AT TIME ZONE 'UTC')::DATE - 182
    AND (day = (now() AT TIME ZONE 'UTC')::DATE OR day = CAST(date_trunc('week', day) AS DATE) + 6)
GROUP BY 1, 2
ORDER BY week DESC, amount DESC, stage
