-- Pages on which people came first: people, sign-ups, and what their accounts pay and have won.
-- Picture: bars of people, sign_ups, arr_by_account, arr_for_each_sign_up by landing_page
WITH signed_up AS (
    SELECT DISTINCT user_id FROM touchpoints WHERE kind = 'sign-up'
),
worth AS (
    SELECT account_id, {accounts.sfdc_account_arr:DECIMAL} AS arr, sfdc_opportunity_won_count AS won, sfdc_opportunity_won_amount AS won_amount
    FROM accounts
),
people AS (
    SELECT coalesce(split_part(t.first_landing_page, '?', 1), '(unknown)') AS landing_page, t.user_id, s.user_id AS signed_up, u.account_id
    FROM user_touches AS t
    LEFT JOIN signed_up AS s ON s.user_id = t.user_id
    LEFT JOIN users AS u ON u.user_id = t.user_id
),
by_account AS (
    SELECT landing_page, account_id, count(*) AS people, count(signed_up) AS sign_ups
    FROM people
    WHERE account_id IS NOT NULL
    GROUP BY landing_page, account_id
),
bought AS (
    SELECT b.landing_page, count(*) AS accounts, sum(CASE WHEN w.won > 0 THEN 1 ELSE 0 END) AS won, sum(w.won_amount) AS won_amount,
        sum(w.arr) AS arr, sum(w.arr * b.people) AS arr_by_person, sum(CASE WHEN b.sign_ups > 0 THEN w.arr END) AS arr_of_sign_ups
    FROM by_account AS b
    JOIN worth AS w ON w.account_id = b.account_id
    GROUP BY b.landing_page
),
counted AS (
    SELECT landing_page, count(*) AS people, count(signed_up) AS sign_ups FROM people GROUP BY landing_page
)
SELECT
    c.landing_page,
    c.people,
    c.sign_ups,
    coalesce(b.accounts, 0) AS accounts,
    coalesce(b.won, 0)::BIGINT AS accounts_that_won,
    coalesce(b.won_amount, 0) AS won_amount,
    b.arr AS arr_by_account,
    b.arr_by_person,
    CASE WHEN c.sign_ups > 0
        THEN CAST(round(CAST(CAST(b.arr_of_sign_ups AS DECIMAL(38, 6)) / c.sign_ups AS DECIMAL(38, 6)), 2) AS DECIMAL(38, 2))
    END AS arr_for_each_sign_up
FROM counted AS c
LEFT JOIN bought AS b ON b.landing_page = c.landing_page
ORDER BY won_amount DESC, people DESC, landing_page
