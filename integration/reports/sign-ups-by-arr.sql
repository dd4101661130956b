-- How much those who sign up pay: people and accounts by the account's ARR, and what that comes to.
-- Picture: bars of people, accounts, arr_by_account by pays
WITH by_account AS (
    SELECT u.account_id, count(DISTINCT t.user_id) AS people
    FROM touchpoints AS t
    LEFT JOIN users AS u ON u.user_id = t.user_id
    WHERE t.kind = 'sign-up'
    GROUP BY u.account_id
),
worth AS (
    SELECT account_id, {accounts.sfdc_account_arr:DECIMAL} AS arr FROM accounts
),
placed AS (
    SELECT b.account_id, b.people, w.arr,
        CASE WHEN w.arr >= 200000 THEN 1 WHEN w.arr >= 50000 THEN 2 WHEN w.arr >= 10000 THEN 3 WHEN w.arr > 0 THEN 4
            WHEN b.account_id IS NOT NULL THEN 5 ELSE 6 END AS place
    FROM by_account AS b
    LEFT JOIN worth AS w ON w.account_id = b.account_id
)
SELECT
    CASE place WHEN 1 THEN '200,000 and more' WHEN 2 THEN '50,000 to 200,000' WHEN 3 THEN '10,000 to 50,000'
        WHEN 4 THEN 'less than 10,000' WHEN 5 THEN '(nothing)' ELSE '(no account)' END AS pays,
    sum(people)::BIGINT AS people,
    count(account_id) AS accounts,
    sum(arr) AS arr_by_account,
    sum(arr * people) AS arr_by_person
FROM placed
GROUP BY place
ORDER BY place
