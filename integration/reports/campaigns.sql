-- Campaigns: visits, people, sign-ups, and what the accounts of those who came by them have won; each account once.
WITH signed_up AS (
    SELECT DISTINCT user_id FROM events
    WHERE origin = 'product' AND name IN ('Sign Up', 'Signed Up', 'User Signed Up')
),
came AS (
    SELECT coalesce(utm_campaign, '(none)') AS campaign, user_id, count(*) AS visits FROM touches GROUP BY 1, 2
),
people AS (
    SELECT c.campaign, c.user_id, c.visits, s.user_id AS signed_up, u.account_id
    FROM came AS c
    LEFT JOIN signed_up AS s ON s.user_id = c.user_id
    LEFT JOIN users AS u ON u.user_id = c.user_id
),
by_account AS (
    SELECT DISTINCT campaign, account_id FROM people WHERE account_id IS NOT NULL
),
won AS (
    SELECT b.campaign, count(*) AS accounts, sum(CASE WHEN a.sfdc_opportunity_won_count > 0 THEN 1 ELSE 0 END) AS paying,
        sum(a.sfdc_opportunity_won_amount) AS amount
    FROM by_account AS b
    JOIN accounts AS a ON a.account_id = b.account_id
    GROUP BY b.campaign
),
counted AS (
    SELECT campaign, sum(visits) AS visits, count(*) AS people, count(signed_up) AS sign_ups FROM people GROUP BY campaign
)
SELECT
    c.campaign,
    c.visits::BIGINT AS visits,
    c.people,
    c.sign_ups,
    coalesce(w.accounts, 0) AS accounts,
    coalesce(w.paying, 0)::BIGINT AS accounts_that_won,
    coalesce(w.amount, 0) AS won_amount
FROM counted AS c
LEFT JOIN won AS w ON w.campaign = c.campaign
ORDER BY won_amount DESC, people DESC, campaign
