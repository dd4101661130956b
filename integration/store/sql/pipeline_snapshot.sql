-- How the opportunities stood at the end of each day (UTC): one row per day and opportunity that was there and not
-- deleted. Of today, how they stand by now. What a stage means, closed or won, is said by the opportunities that are in
-- it now: history tells of stages and not of these.
WITH ones AS (
    SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
),
calendar AS (
    SELECT (now() AT TIME ZONE 'UTC')::DATE - (1000 * a.n + 100 * b.n + 10 * c.n + d.n) AS day
    FROM ones AS a
    CROSS JOIN ones AS b
    CROSS JOIN ones AS c
    CROSS JOIN ones AS d
),
days AS (
    SELECT day FROM calendar WHERE day >= (SELECT min(first_day) FROM opportunity_spans)
),
meant AS (
    SELECT
        stage,
        max(CASE WHEN is_closed THEN 1 ELSE 0 END) AS closed,
        min(CASE WHEN is_closed THEN 1 ELSE 0 END) AS always_closed,
        max(CASE WHEN is_won THEN 1 ELSE 0 END) AS won,
        min(CASE WHEN is_won THEN 1 ELSE 0 END) AS always_won
    FROM opportunity_spans
    WHERE until IS NULL
    GROUP BY stage
),
told AS (
    SELECT
        s.opportunity_id, s.account_id, s.owner_id, s.stage, s.amount, s.close_date, s.first_day, s.last_day, s.since,
        CASE WHEN m.closed = m.always_closed THEN m.closed WHEN s.is_closed THEN 1 ELSE 0 END AS closed,
        CASE WHEN m.won = m.always_won THEN m.won WHEN s.is_won THEN 1 ELSE 0 END AS won
    FROM opportunity_spans AS s
    LEFT JOIN meant AS m ON m.stage = s.stage
)
SELECT
    d.day,
    t.opportunity_id,
    t.account_id,
    t.owner_id,
    t.stage,
    t.amount,
    t.close_date,
    CASE WHEN t.closed = 1 THEN false ELSE true END AS is_open,
    CASE WHEN t.won = 1 THEN true ELSE false END AS is_won,
    t.since
FROM days AS d
CROSS JOIN told AS t
WHERE d.day >= t.first_day AND d.day <= coalesce(t.last_day, (now() AT TIME ZONE 'UTC')::DATE)
