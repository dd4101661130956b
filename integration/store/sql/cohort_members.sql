-- Which arm everybody has in each cohort.
SELECT
    m.name AS cohort,
    m.subject,
    m.member_id,
    u.email,
    CASE WHEN m.subject = 'account' THEN m.member_id ELSE u.account_id END AS account_id,
    m.value AS arm,
    m.since,
    m.version,
    m.reasons
FROM members AS m
LEFT JOIN users AS u ON u.user_id = m.member_id
WHERE m.kind = 'cohort' AND m.until IS NULL
