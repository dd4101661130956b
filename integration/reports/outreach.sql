-- Whom to call first: every account that has a health, those at risk before the others, the most valuable first.
-- Picture: none, accounts are listed one by one
WITH lowest AS (
    SELECT
        health, account_id, state, score, worth,
        CASE state WHEN 'at risk' THEN 1 WHEN 'neutral' THEN 2 ELSE 3 END AS urgency,
        row_number() OVER (PARTITION BY account_id ORDER BY score, health) AS place
    FROM account_health
),
lost AS (
    SELECT
        health, account_id, metric, most - contribution AS points,
        row_number() OVER (PARTITION BY health, account_id ORDER BY most - contribution DESC, metric) AS place
    FROM health_contributions
),
people AS (
    SELECT account_id, count(*) AS people FROM users WHERE NOT is_deleted AND email IS NOT NULL GROUP BY account_id
),
closing AS (
    SELECT accountid AS account_id, min(closedate) AS closes FROM salesforce.opportunity
    WHERE NOT is_deleted AND NOT coalesce(isclosed, false)
    GROUP BY accountid
)
SELECT
    row_number() OVER (ORDER BY h.urgency, coalesce(h.worth, 0) DESC, h.score, h.account_id) AS place,
    a.name AS account,
    o.name AS owner,
    h.state,
    h.worth,
    h.score,
    CASE WHEN l.points > 0 THEN l.metric END AS most_lost_by,
    coalesce(p.people, 0) AS people_with_email,
    c.closes AS next_close,
    h.account_id
FROM lowest AS h
LEFT JOIN salesforce.account AS a ON a.id = h.account_id
LEFT JOIN salesforce.user AS o ON o.id = a.ownerid
LEFT JOIN lost AS l ON l.account_id = h.account_id AND l.health = h.health AND l.place = 1
LEFT JOIN people AS p ON p.account_id = h.account_id
LEFT JOIN closing AS c ON c.account_id = h.account_id
WHERE h.place = 1
ORDER BY place
