-- Who is of which persona now, and how surely.
SELECT
    m.name AS persona,
    m.subject,
    m.member_id,
    u.email,
    CASE WHEN m.subject = 'account' THEN m.member_id ELSE u.account_id END AS account_id,
    m.score AS confidence,
    m.since,
    m.version,
    m.reasons
FROM members AS m
LEFT JOIN users AS u ON u.user_id = m.member_id
WHERE m.kind = 'persona' AND m.until IS NULL
