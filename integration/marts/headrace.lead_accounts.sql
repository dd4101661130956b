-- To which accounts a lead that is not converted may belong, by its e-mail and company. Guesses: one row per lead and
-- account, the best one first. The more accounts there are, the less is said of each; what more than 20 share says nothing.
WITH leads AS (
    SELECT l.id, {mail:l.email} AS domain, {company:l.company} AS company
    FROM {salesforce.lead} AS l
    WHERE {among:l.id} AND NOT l.is_deleted AND NOT coalesce(l.isconverted, false) AND {guessed:accounts}
),
accounts_there AS (
    SELECT a.id, {site:a.website} AS domain, {company:a.name} AS company
    FROM {salesforce.account} AS a
    WHERE NOT a.is_deleted
),
signs AS (
    SELECT id, 90 AS percent, domain AS sign FROM accounts_there WHERE domain IS NOT NULL
    UNION
    SELECT a.id, 80 AS percent, {mail:c.email} AS sign
    FROM {salesforce.contact} AS c
    JOIN accounts_there AS a ON a.id = c.accountid
    WHERE NOT c.is_deleted
    UNION
    SELECT id, 60 AS percent, company AS sign FROM accounts_there WHERE company IS NOT NULL
),
shared AS (
    SELECT id, percent, sign, count(*) OVER (PARTITION BY percent, sign) AS accounts FROM signs
),
found AS (
    SELECT l.id AS lead_id, s.id AS account_id, s.percent
    FROM leads AS l
    JOIN shared AS s ON s.sign = l.domain
    WHERE s.percent > 60 AND s.accounts <= 20
    UNION ALL
    SELECT l.id AS lead_id, s.id AS account_id, s.percent
    FROM leads AS l
    JOIN shared AS s ON s.sign = l.company
    WHERE s.percent = 60 AND s.accounts <= 20
),
counted AS (
    SELECT
        lead_id,
        account_id,
        max(percent) AS percent,
        min(percent) AS least,
        count(*) OVER (PARTITION BY lead_id) AS candidates
    FROM found
    GROUP BY lead_id, account_id
),
weighed AS (
    SELECT
        *,
        CASE percent WHEN 90 THEN 'website' WHEN 80 THEN 'contacts' ELSE 'company' END AS how,
        -- A domain and the name both say so.
        CAST(floor((CASE WHEN least = 60 AND percent > 60 THEN percent + 5 ELSE percent END) / candidates) AS BIGINT)
            AS hundredths
    FROM counted
)
SELECT
    lead_id,
    row_number() OVER (PARTITION BY lead_id ORDER BY hundredths DESC, account_id) AS place,
    account_id,
    how,
    hundredths * CAST('0.01' AS DECIMAL(18, 2)) AS confidence,
    candidates
FROM weighed
