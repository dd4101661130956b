-- Live people who came in the last 30 days, the newest first, with how they came and their account.
-- Picture: none, people are listed one by one
SELECT
    u.user_id,
    u.first_seen,
    u.email,
    CASE WHEN u.lead_id IS NOT NULL AND u.contact_id IS NOT NULL THEN 'lead and contact'
        WHEN u.contact_id IS NOT NULL THEN 'contact' WHEN u.lead_id IS NOT NULL THEN 'lead' END AS came_as,
    u.account_id,
    a.name AS account
FROM users AS u
LEFT JOIN salesforce.account AS a ON a.id = u.account_id
WHERE NOT u.is_deleted AND u.first_seen >= now() - INTERVAL 30 DAY
ORDER BY u.first_seen DESC, u.user_id
