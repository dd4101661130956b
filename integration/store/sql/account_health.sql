-- The health of each account: its score now, what each metric adds to it, and the score before the last change.
WITH scored AS (
    SELECT
        name, member_id, score, value, since, until, version, reasons,
        lag(score) OVER (PARTITION BY name, member_id ORDER BY since) AS score_before
    FROM members
    WHERE kind = 'health'
)
SELECT
    s.name AS health,
    s.member_id AS account_id,
    s.score,
    s.value AS state,
    s.score_before,
    s.since,
    s.version,
    s.reasons AS contributions,
    w.worth
FROM scored AS s
LEFT JOIN ({worth}) AS w ON w.id = s.member_id
WHERE s.until IS NULL
