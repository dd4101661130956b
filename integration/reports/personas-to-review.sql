-- Personas that nobody has looked at for more than a year, the oldest first, with how many are one of them.
-- Picture: none, it is a list of things to do
WITH looked_at AS (
    SELECT
        name,
        title,
        coalesce(CAST(nullif(body->>'$.reviewed', '') AS DATE), CAST(since AS DATE)) AS reviewed,
        nullif(body->>'$.reviewed', '') IS NOT NULL AS was_reviewed
    FROM definitions
    WHERE kind = 'persona' AND until IS NULL
)
SELECT
    l.name AS persona,
    l.title,
    l.reviewed AS last_looked_at,
    l.was_reviewed,
    count(m.member_id) AS members
FROM looked_at AS l
LEFT JOIN members AS m ON m.kind = 'persona' AND m.name = l.name AND m.until IS NULL
WHERE CAST(l.reviewed + INTERVAL 1 YEAR AS DATE) < CAST(now() AS DATE)
GROUP BY l.name, l.title, l.reviewed, l.was_reviewed
ORDER BY last_looked_at, persona
