-- Who is in each audience now, since when, and what made it so.
SELECT
    m.name AS audience,
    m.subject,
    m.member_id,
    u.email,
    CASE WHEN m.subject = 'account' THEN m.member_id ELSE u.account_id END AS account_id,
    m.since,
    m.version,
    m.reasons
FROM members AS m
LEFT JOIN users AS u ON u.user_id = m.member_id
WHERE m.kind = 'audience' AND m.until IS NULL
