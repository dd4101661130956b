-- Sign-ups by month: people, the accounts that came with them, how many of these pay by now, and how much a year.
-- Picture: lines of people, accounts, arr_by_account over month
WITH ones AS (
    SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
    UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
),
numbers AS (
    SELECT a.n + 10 * b.n + 100 * c.n AS n FROM ones AS a CROSS JOIN ones AS b CROSS JOIN ones AS c
),
signed_up AS (
    SELECT t.user_id, u.account_id, min(t."time") AS signed_at
    FROM touchpoints AS t
    LEFT JOIN users AS u ON u.user_id = t.user_id
    WHERE t.kind = 'sign-up'
    GROUP BY t.user_id, u.account_id
),
ranked AS (
    SELECT user_id, account_id, date_trunc('month', signed_at AT TIME ZONE 'UTC')::DATE AS month,
        row_number() OVER (PARTITION BY account_id ORDER BY signed_at, user_id) AS place
    FROM signed_up
),
known AS (
    SELECT DISTINCT month FROM ranked
),
months AS (
    SELECT DISTINCT date_trunc('month', k.month + 28 * n.n)::DATE AS month
    FROM known AS k
    CROSS JOIN numbers AS n
    WHERE n.n = 0 OR date_trunc('month', k.month + 28 * n.n)::DATE <= (now() AT TIME ZONE 'UTC')::DATE
),
worth AS (
    SELECT account_id, {accounts.sfdc_account_arr:DECIMAL} AS arr FROM accounts
)
SELECT
    m.month,
    count(r.user_id) AS people,
    sum(CASE WHEN r.place = 1 AND r.account_id IS NOT NULL THEN 1 ELSE 0 END)::BIGINT AS accounts,
    sum(CASE WHEN r.place = 1 AND w.arr > 0 THEN 1 ELSE 0 END)::BIGINT AS accounts_that_pay,
    coalesce(sum(CASE WHEN r.place = 1 THEN w.arr END), 0) AS arr_by_account
FROM months AS m
LEFT JOIN ranked AS r ON r.month = m.month
LEFT JOIN worth AS w ON w.account_id = r.account_id
GROUP BY m.month
ORDER BY m.month
