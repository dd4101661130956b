-- Who becomes a paying customer: sign-ups whose accounts pay by now, by job title and industry, and how much a year.
-- Picture: stacks of arr_by_account by title, industry
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
    SELECT account_id, coalesce({accounts.sfdc_account_industry:VARCHAR}, '(unknown)') AS industry, {accounts.sfdc_account_arr:DECIMAL} AS arr FROM accounts
)
SELECT
    b.title,
    w.industry,
    sum(b.people)::BIGINT AS people,
    count(*) AS accounts,
    sum(w.arr) AS arr_by_account,
    sum(w.arr * b.people) AS arr_by_person
FROM by_account AS b
JOIN worth AS w ON w.account_id = b.account_id
WHERE w.arr > 0
GROUP BY b.title, w.industry
ORDER BY arr_by_account DESC, people DESC, b.title, w.industry
