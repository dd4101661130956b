-- Pages on which people came first: people, sign-ups, and what their accounts have won; each account once.
WITH signed_up AS (
    SELECT DISTINCT user_id FROM events
    WHERE origin = 'product' AND name IN ('Sign Up', 'Signed Up', 'User Signed Up')
),
people AS (
    SELECT coalesce(split_part(t.first_landing_page, '?', 1), '(unknown)') AS landing_page, t.user_id, s.user_id AS signed_up, u.account_id
    FROM user_touches AS t
    LEFT JOIN signed_up AS s ON s.user_id = t.user_id
    LEFT JOIN users AS u ON u.user_id = t.user_id
),
by_account AS (
    SELECT DISTINCT landing_page, account_id FROM people WHERE account_id IS NOT NULL
),
won AS (
    SELECT b.landing_page, count(*) AS accounts, sum(CASE WHEN a.sfdc_opportunity_won_count > 0 THEN 1 ELSE 0 END) AS paying,
        sum(a.sfdc_opportunity_won_amount) AS amount
    FROM by_account AS b
    JOIN accounts AS a ON a.account_id = b.account_id
    GROUP BY b.landing_page
),
counted AS (
    SELECT landing_page, count(*) AS people, count(signed_up) AS sign_ups FROM people GROUP BY landing_page
)
SELECT
    c.landing_page,
    c.people,
    c.sign_ups,
    coalesce(w.accounts, 0) AS accounts,
    coalesce(w.paying, 0)::BIGINT AS accounts_that_won,
    coalesce(w.amount, 0) AS won_amount
FROM counted AS c
LEFT JOIN won AS w ON w.landing_page = c.landing_page
ORDER BY won_amount DESC, people DESC, landing_page
