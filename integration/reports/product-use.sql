-- Who uses the product, by type of account: active in the last 30 days, and who was in the 90 days before but is no more.
-- Picture: bars of people, active_30d, stopped by account_type, others added up
WITH used AS (
    SELECT user_id, max(day) AS last_day,
        sum(CASE WHEN day >= (now() AT TIME ZONE 'UTC')::DATE - 30 THEN events ELSE 0 END) AS events_30d
    FROM daily_activity
    GROUP BY user_id
),
told AS (
    SELECT user_id, account_id, {users.sfdc_account_account_type:VARCHAR} AS account_type FROM users WHERE NOT is_deleted
)
SELECT
    CASE WHEN t.account_id IS NULL THEN '(no account)' ELSE coalesce(t.account_type, '(unknown)') END AS account_type,
    count(*) AS people,
    count(DISTINCT t.account_id) AS accounts,
    sum(CASE WHEN u.events_30d > 0 THEN 1 ELSE 0 END)::BIGINT AS active_30d,
    sum(CASE WHEN u.events_30d = 0 AND u.last_day >= (now() AT TIME ZONE 'UTC')::DATE - 120 THEN 1 ELSE 0 END)::BIGINT AS stopped,
    sum(u.events_30d)::BIGINT AS events_30d,
    max(u.last_day) AS last_day
FROM used AS u
JOIN told AS t ON t.user_id = u.user_id
GROUP BY 1
ORDER BY active_30d DESC, people DESC, account_type
