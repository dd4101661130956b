-- Accounts at risk, the most valuable first: owner, score, its change in two weeks, and what takes most from it.
-- Picture: bars of worth, score by account
WITH lowest AS (
    SELECT
        health, account_id, score, worth, since,
        row_number() OVER (PARTITION BY account_id ORDER BY score, health) AS place
    FROM account_health
    WHERE state = 'at risk'
),
two_weeks_ago AS (
    SELECT name AS health, member_id AS account_id, score
    FROM members
    WHERE kind = 'health' AND since <= now() - INTERVAL 14 DAY AND (until IS NULL OR until > now() - INTERVAL 14 DAY)
),
lost AS (
    SELECT
        health, account_id, metric, most - contribution AS points,
        row_number() OVER (PARTITION BY health, account_id ORDER BY most - contribution DESC, metric) AS place
    FROM health_contributions
)
SELECT
    a.name AS account,
    o.name AS owner,
    h.worth,
    h.score,
    h.score - b.score AS change_in_two_weeks,
    l.metric AS most_lost_by,
    l.points AS points_lost,
    h.since,
    h.health,
    h.account_id
FROM lowest AS h
LEFT JOIN salesforce.account AS a ON a.id = h.account_id
LEFT JOIN salesforce.user AS o ON o.id = a.ownerid
LEFT JOIN two_weeks_ago AS b ON b.account_id = h.account_id AND b.health = h.health
LEFT JOIN lost AS l ON l.account_id = h.account_id AND l.health = h.health AND l.place = 1
WHERE h.place = 1
ORDER BY coalesce(h.worth, 0) DESC, h.score, h.account_id
