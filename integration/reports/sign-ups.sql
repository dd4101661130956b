-- Who signs up: people by the industry of their account, and what these accounts pay and have won.
-- Picture: bars of people, accounts, arr_by_account, won_amount by industry, others added up
WITH by_account AS (
    SELECT u.account_id, count(DISTINCT t.user_id) AS people
    FROM touchpoints AS t
    LEFT JOIN users AS u ON u.user_id = t.user_id
    WHERE t.kind = 'sign-up'
    GROUP BY u.account_id
),
worth AS (
    SELECT account_id, {accounts.sfdc_account_industry:VARCHAR} AS industry, {accounts.sfdc_account_arr:DECIMAL} AS arr,
        sfdc_opportunity_won_count AS won, sfdc_opportunity_won_amount AS won_amount
    FROM accounts
)
SELECT
    CASE WHEN b.account_id IS NULL THEN '(no account)' ELSE coalesce(w.industry, '(unknown)') END AS industry,
    sum(b.people)::BIGINT AS people,
    count(b.account_id) AS accounts,
    sum(CASE WHEN w.won > 0 THEN 1 ELSE 0 END)::BIGINT AS accounts_that_won,
    coalesce(sum(w.won_amount), 0) AS won_amount,
    sum(w.arr) AS arr_by_account,
    sum(w.arr * b.people) AS arr_by_person
FROM by_account AS b
LEFT JOIN worth AS w ON w.account_id = b.account_id
GROUP BY 1
ORDER BY won_amount DESC, people DESC, industry
