-- Who signs up: people by the industry of their account, and what these accounts have won; each account once.
WITH signed_up AS (
    SELECT DISTINCT e.user_id, u.account_id
    FROM events AS e
    LEFT JOIN users AS u ON u.user_id = e.user_id
    WHERE e.origin = 'product' AND e.name IN ('Sign Up', 'Signed Up', 'User Signed Up')
),
by_account AS (
    SELECT account_id, count(*) AS people FROM signed_up GROUP BY account_id
)
SELECT
    CASE WHEN b.account_id IS NULL THEN '(no account)' ELSE coalesce(a.industry, '(unknown)') END AS industry,
    sum(b.people)::BIGINT AS people,
    count(b.account_id) AS accounts,
    sum(CASE WHEN d.sfdc_opportunity_won_count > 0 THEN 1 ELSE 0 END)::BIGINT AS accounts_that_won,
    coalesce(sum(d.sfdc_opportunity_won_amount), 0) AS won_amount
FROM by_account AS b
LEFT JOIN salesforce.account AS a ON a.id = b.account_id
LEFT JOIN accounts AS d ON d.account_id = b.account_id
GROUP BY 1
ORDER BY won_amount DESC, people DESC, industry
