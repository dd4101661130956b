-- The personas that are defined, with how many are one of them, how surely, and what is to be known of each.
-- Picture: bars of members by title, others added up
SELECT
    d.name AS persona,
    d.title,
    nullif(d.body->>'$.segment', '') AS segment,
    count(m.member_id) AS members,
    round(avg(m.score), 2) AS confidence,
    max(coalesce(d.problem, d.notice)) AS notice
FROM definitions AS d
LEFT JOIN members AS m ON m.kind = 'persona' AND m.name = d.name AND m.until IS NULL
WHERE d.kind = 'persona' AND d.until IS NULL
GROUP BY d.name, d.title, nullif(d.body->>'$.segment', '')
ORDER BY segment, members DESC, persona
