-- Opportunities that close in the next 90 days, with the health of their account, and what is expected of each state.
-- Picture: none, opportunities are listed one by one
WITH lowest AS (
    SELECT
        account_id, state, score,
        row_number() OVER (PARTITION BY account_id ORDER BY score, health) AS place
    FROM account_health
),
closing AS (
    SELECT
        id, name, accountid, ownerid, closedate, amount, probability,
        round(coalesce(amount, 0) * coalesce(probability, 0) / 100, 2) AS expected
    FROM salesforce.opportunity
    WHERE NOT is_deleted AND NOT coalesce(isclosed, false)
        AND closedate >= (now() AT TIME ZONE 'UTC')::DATE AND closedate < (now() AT TIME ZONE 'UTC')::DATE + 90
)
SELECT
    coalesce(h.state, '(no score)') AS state,
    c.closedate AS closes,
    c.name AS opportunity,
    a.name AS account,
    o.name AS owner,
    h.score,
    c.amount,
    c.probability,
    c.expected,
    sum(c.expected) OVER (PARTITION BY coalesce(h.state, '(no score)')) AS expected_of_state,
    c.id AS opportunity_id,
    c.accountid AS account_id
FROM closing AS c
LEFT JOIN lowest AS h ON h.account_id = c.accountid AND h.place = 1
LEFT JOIN salesforce.account AS a ON a.id = c.accountid
LEFT JOIN salesforce.user AS o ON o.id = c.ownerid
ORDER BY coalesce(h.score, 101), c.closedate, c.id
