-- Those who work in Salesforce with their personas, the surest one first, and what speaks for it.
-- Picture: none, people are listed one by one
SELECT
    u.name,
    m.member_id AS salesforce_user_id,
    row_number() OVER (PARTITION BY m.member_id ORDER BY m.score DESC, m.name) AS place,
    m.name AS persona,
    m.score AS confidence,
    m.since,
    m.reasons
FROM members AS m
JOIN salesforce.user AS u ON u.id = m.member_id
WHERE m.kind = 'persona' AND m.subject = 'salesforce_user' AND m.until IS NULL
ORDER BY u.name, m.member_id, place
