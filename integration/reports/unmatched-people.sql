-- People who used the product in the last 90 days and belong to no account of Salesforce, with the reason.
-- Picture: none, people are listed one by one
WITH active AS (
    SELECT user_id, sum(events)::BIGINT AS events, max(last_at) AS last_seen
    FROM daily_activity
    WHERE day > (now() AT TIME ZONE 'UTC')::DATE - 90
    GROUP BY user_id
)
SELECT
    CASE
        WHEN u.contact_id IS NOT NULL THEN 'contact without an account'
        WHEN u.lead_id IS NOT NULL THEN 'lead that is not converted'
        WHEN u.email IS NULL THEN 'no e-mail is known'
        ELSE 'no contact or lead with this e-mail'
    END AS reason,
    u.user_id,
    u.email,
    a.events,
    a.last_seen
FROM active AS a
JOIN users AS u ON u.user_id = a.user_id
WHERE NOT u.is_deleted AND u.account_id IS NULL
ORDER BY a.events DESC, u.user_id
