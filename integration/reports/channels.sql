-- Channels of the first touch: people, sign-ups, and what their accounts pay and have won.
-- Picture: bars of people, sign_ups, arr_by_account, won_amount by channel
WITH signed_up AS (
    SELECT DISTINCT user_id FROM touchpoints WHERE kind = 'sign-up'
),
worth AS (
    SELECT account_id, {accounts.sfdc_account_arr:DECIMAL} AS arr, sfdc_opportunity_won_count AS won, sfdc_opportunity_won_amount AS won_amount
    FROM accounts
),
people AS (
    SELECT coalesce(t.first_channel, '(unknown)') AS channel, t.user_id, s.user_id AS signed_up, u.account_id
    FROM user_touches AS t
    LEFT JOIN signed_up AS s ON s.user_id = t.user_id
    LEFT JOIN users AS u ON u.user_id = t.user_id
),
by_account AS (
    SELECT channel, account_id, count(*) AS people FROM people WHERE account_id IS NOT NULL GROUP BY channel, account_id
),
bought AS (
    SELECT b.channel, count(*) AS accounts, sum(CASE WHEN w.won > 0 THEN 1 ELSE 0 END) AS won, sum(w.won_amount) AS won_amount,
        sum(w.arr) AS arr, sum(w.arr * b.people) AS arr_by_person
    FROM by_account AS b
    JOIN worth AS w ON w.account_id = b.account_id
    GROUP BY b.channel
),
counted AS (
    SELECT channel, count(*) AS people, count(signed_up) AS sign_ups FROM people GROUP BY channel
)
SELECT
    c.channel,
    c.people,
    c.sign_ups,
    coalesce(b.accounts, 0) AS accounts,
    coalesce(b.won, 0)::BIGINT AS accounts_that_won,
    coalesce(b.won_amount, 0) AS won_amount,
    b.arr AS arr_by_account,
    b.arr_by_person
FROM counted AS c
LEFT JOIN bought AS b ON b.channel = c.channel
ORDER BY won_amount DESC, people DESC, channel
