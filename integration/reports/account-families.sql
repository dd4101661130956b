-- Accounts with all that belong to them, by the topmost parent: people in deals, opportunities, and amounts.
-- Picture: bars of people_in_deals, opportunities, open_amount, won_amount by account
WITH RECURSIVE above AS (
    SELECT id, id AS root_id, parentid, 0 AS steps FROM salesforce.account WHERE NOT is_deleted
    UNION ALL
    SELECT b.id, p.id AS root_id, p.parentid, b.steps + 1 AS steps
    FROM above AS b
    JOIN salesforce.account AS p ON p.id = b.parentid
    WHERE NOT p.is_deleted AND b.steps < 50
),
ranked AS (
    SELECT id, root_id, row_number() OVER (PARTITION BY id ORDER BY steps DESC) AS place FROM above
),
deals AS (
    SELECT r.root_id, o.id, o.amount, o.iswon, o.isclosed
    FROM salesforce.opportunity AS o
    JOIN ranked AS r ON r.id = o.accountid AND r.place = 1
    WHERE NOT o.is_deleted
),
people AS (
    SELECT d.root_id, count(DISTINCT c.contactid) AS people
    FROM deals AS d
    JOIN salesforce.opportunitycontactrole AS c ON c.opportunityid = d.id
    WHERE NOT c.is_deleted
    GROUP BY d.root_id
),
summed AS (
    SELECT
        root_id,
        count(*) AS opportunities,
        sum(CASE WHEN NOT isclosed THEN amount END) AS open_amount,
        sum(CASE WHEN iswon THEN amount END) AS won_amount
    FROM deals
    GROUP BY root_id
),
families AS (
    SELECT root_id, count(*) AS accounts FROM ranked WHERE place = 1 GROUP BY root_id
)
SELECT
    f.root_id AS account_id,
    a.name AS account,
    f.accounts,
    coalesce(p.people, 0) AS people_in_deals,
    coalesce(s.opportunities, 0) AS opportunities,
    coalesce(s.open_amount, 0) AS open_amount,
    coalesce(s.won_amount, 0) AS won_amount
FROM families AS f
JOIN salesforce.account AS a ON a.id = f.root_id
LEFT JOIN summed AS s ON s.root_id = f.root_id
LEFT JOIN people AS p ON p.root_id = f.root_id
ORDER BY won_amount DESC, open_amount DESC, f.root_id
