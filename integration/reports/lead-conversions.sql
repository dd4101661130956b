-- What became of leads, by their source: conversions, and the accounts and opportunities that these led to.
-- Picture: bars of leads, converted, opportunities, won by lead_source, others added up
WITH leads AS (
    SELECT
        coalesce(l.leadsource, '(unknown)') AS lead_source,
        l.id,
        CASE WHEN l.isconverted THEN l.id END AS converted,
        CASE WHEN l.isconverted THEN l.convertedaccountid END AS account_id,
        CASE WHEN l.isconverted THEN l.convertedcontactid END AS contact_id,
        o.id AS opportunity_id,
        CASE WHEN o.iswon THEN o.id END AS won
    FROM salesforce.lead AS l
    LEFT JOIN salesforce.opportunity AS o ON o.id = l.convertedopportunityid AND NOT o.is_deleted
    WHERE NOT l.is_deleted
)
SELECT
    lead_source,
    count(*) AS leads,
    count(converted) AS converted,
    count(DISTINCT account_id) AS accounts,
    count(DISTINCT contact_id) AS contacts,
    count(DISTINCT opportunity_id) AS opportunities,
    count(DISTINCT won) AS won
FROM leads
GROUP BY lead_source
ORDER BY leads DESC, lead_source
