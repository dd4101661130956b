-- Live accounts with their people, open opportunities and last activity, the largest open amount first.
-- Picture: bars of people, open_opportunities, open_amount by account
WITH active AS (
    SELECT account_id, max("time") FILTER (object IN ('Task', 'Event')) AS last_activity, max("time") AS last_event
    FROM events
    WHERE account_id IS NOT NULL
    GROUP BY account_id
)
SELECT
    d.account_id,
    a.name AS account,
    d.people_count AS people,
    d.sfdc_opportunity_open_count AS open_opportunities,
    d.sfdc_opportunity_open_amount AS open_amount,
    t.last_activity,
    t.last_event
FROM accounts AS d
JOIN salesforce.account AS a ON a.id = d.account_id
LEFT JOIN active AS t ON t.account_id = d.account_id
WHERE NOT d.is_deleted
ORDER BY open_amount DESC, people DESC, d.account_id
