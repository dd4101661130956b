-- Job titles of those who sign up: people, their accounts, how many of these pay, and how much a year.
-- Picture: bars of people, accounts_that_pay, arr_by_account, arr_by_person by title
WITH signed_up AS (
    SELECT DISTINCT t.user_id, u.account_id,
        coalesce({users.sfdc_contact_title:VARCHAR}, {users.sfdc_lead_title:VARCHAR}, '(unknown)') AS title
    FROM touchpoints AS t
    LEFT JOIN users AS u ON u.user_id = t.user_id
    WHERE t.kind = 'sign-up'
),
by_account AS (
    SELECT title, account_id, count(*) AS people FROM signed_up GROUP BY title, account_id
),
worth AS (
    SELECT account_id, {accounts.sfdc_account_arr:DECIMAL} AS arr FROM accounts
)
SELECT
    b.title,
    sum(b.people)::BIGINT AS people,
    count(b.account_id) AS accounts,
    sum(CASE WHEN w.arr > 0 THEN 1 ELSE 0 END)::BIGINT AS accounts_that_pay,
    sum(w.arr) AS arr_by_account,
    sum(w.arr * b.people) AS arr_by_person
FROM by_account AS b
LEFT JOIN worth AS w ON w.account_id = b.account_id
GROUP BY b.title
ORDER BY arr_by_account DESC NULLS LAST, people DESC, b.title
