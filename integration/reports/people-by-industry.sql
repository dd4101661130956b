-- People by the industry of their account, with the open amount of these accounts: each account counts once.
-- Picture: bars of people, accounts, open_amount by industry, others added up
WITH people AS (
    SELECT account_id, count(*) AS people FROM users WHERE NOT is_deleted GROUP BY account_id
)
SELECT
    CASE WHEN p.account_id IS NULL THEN '(no account)' ELSE coalesce(a.industry, '(unknown)') END AS industry,
    sum(p.people)::BIGINT AS people,
    count(p.account_id) AS accounts,
    coalesce(sum(d.sfdc_opportunity_open_amount), 0) AS open_amount
FROM people AS p
LEFT JOIN salesforce.account AS a ON a.id = p.account_id
LEFT JOIN accounts AS d ON d.account_id = p.account_id
GROUP BY 1
ORDER BY people DESC, industry
