-- Where each opportunity comes from: the source of the lead that was converted to it, unless sales had spoken to
-- somebody at the account in the days before the lead came (60, unless set otherwise); and the campaign that brought
-- the lead.
WITH deals AS (
    SELECT o.id, o.accountid, o.amount, o.createddate, o.leadsource, o.campaignid, o.iswon, o.isclosed
    FROM {salesforce.opportunity} AS o
    WHERE {among:o.id} AND NOT o.is_deleted
),
in_order AS (
    SELECT
        l.id,
        l.leadsource,
        l.createddate,
        CAST(l.converteddate AS TIMESTAMP) AT TIME ZONE 'UTC' AS converted_on,
        l.convertedaccountid,
        l.convertedopportunityid AS opportunity_id,
        row_number() OVER (
            PARTITION BY l.convertedopportunityid ORDER BY l.converteddate, l.createddate, l.id
        ) AS place
    FROM {salesforce.lead} AS l
    WHERE {among:l.convertedopportunityid} AND l.isconverted
),
-- An account that was merged into another one is the same account.
families AS (
    SELECT a.id, coalesce(a.masterrecordid, a.id) AS family_id FROM {salesforce.account} AS a
),
witnessed AS (
    SELECT c.record_id, max(c."time") AS "time"
    FROM changes AS c
    WHERE c.field = 'IsConverted' AND c.new_value = 'true' AND c.record_id IN (SELECT id FROM in_order)
    GROUP BY c.record_id
),
-- When the lead was converted: where nobody has seen that, with the opportunity, or on the day that the lead tells.
converted AS (
    SELECT
        r.id,
        r.leadsource,
        r.createddate,
        r.opportunity_id,
        coalesce(f.family_id, r.convertedaccountid, d.accountid) AS family_id,
        CASE
            WHEN w."time" IS NOT NULL THEN w."time"
            WHEN r.converted_on > d.createddate AND r.converted_on > r.createddate THEN r.converted_on
            WHEN r.createddate > d.createddate THEN r.createddate
            ELSE d.createddate
        END AS converted_at
    FROM in_order AS r
    JOIN deals AS d ON d.id = r.opportunity_id
    LEFT JOIN families AS f ON f.id = coalesce(r.convertedaccountid, d.accountid)
    LEFT JOIN witnessed AS w ON w.record_id = r.id
    WHERE r.place = 1
),
-- Whom sales brought in, with every account to which they have ever belonged.
prospects AS (
    SELECT c.id, c.accountid AS account_id, c.leadsource, c.createddate
    FROM {salesforce.contact} AS c
    WHERE {outbound:c.leadsource}
    UNION
    SELECT c.id, CASE WHEN w.way = 1 THEN g.new_value ELSE g.old_value END AS account_id, c.leadsource, c.createddate
    FROM {salesforce.contact} AS c
    JOIN changes AS g ON g.record_id = c.id
    CROSS JOIN (SELECT 1 AS way UNION ALL SELECT -1 AS way) AS w
    WHERE {outbound:c.leadsource} AND g.field = 'AccountId'
),
candidates AS (
    SELECT DISTINCT p.id, p.leadsource, p.createddate, l.opportunity_id, l.family_id, l.converted_at
    FROM prospects AS p
    LEFT JOIN families AS f ON f.id = p.account_id
    JOIN converted AS l ON l.family_id = coalesce(f.family_id, p.account_id)
    WHERE p.createddate <= l.createddate
        AND epoch(l.createddate) - epoch(p.createddate) <= {seconds:outbound_days}
),
-- They lived before a deletion and after a restoration; behind the last of these it is as it is now.
turns AS (
    SELECT
        e.record_id,
        e."time" AS until,
        CASE WHEN e.name = 'Contact Restored' THEN 1 ELSE 0 END AS was_deleted,
        0 AS is_last
    FROM events AS e
    WHERE e.record_id IN (SELECT id FROM candidates)
        AND e.name IN ('Contact Deleted', 'Contact Merged', 'Contact Restored')
    UNION ALL
    SELECT c.id AS record_id, NULL::TIMESTAMPTZ AS until, CASE WHEN c.is_deleted THEN 1 ELSE 0 END AS was_deleted,
        1 AS is_last
    FROM {salesforce.contact} AS c
    WHERE c.id IN (SELECT id FROM candidates)
),
lives AS (
    SELECT
        record_id, until, was_deleted,
        lag(until) OVER (PARTITION BY record_id ORDER BY is_last, until) AS since
    FROM turns
),
spoken_to AS (
    SELECT
        c.opportunity_id,
        c.id AS contact_id,
        c.leadsource,
        c.createddate,
        row_number() OVER (PARTITION BY c.opportunity_id ORDER BY c.createddate, c.id) AS place
    FROM candidates AS c
    JOIN lives AS l ON l.record_id = c.id
    JOIN {past.Contact:AccountId:candidates} AS b ON b.record_id = c.id
    LEFT JOIN families AS f ON f.id = b.value
    WHERE coalesce(f.family_id, b.value) = c.family_id
        AND l.was_deleted = 0
        AND (l.since IS NULL OR l.since <= c.converted_at) AND (l.until IS NULL OR c.converted_at < l.until)
        AND (b.since IS NULL OR b.since <= c.converted_at) AND (b.until IS NULL OR c.converted_at < b.until)
),
-- The form by which the lead came: the first one answered; where none was, the first membership.
brought AS (
    SELECT
        l.opportunity_id,
        m.campaignid AS campaign_id,
        row_number() OVER (
            PARTITION BY l.opportunity_id
            ORDER BY CASE WHEN m.hasresponded THEN 0 ELSE 1 END, m.createddate, m.id
        ) AS place
    FROM converted AS l
    JOIN {salesforce.campaignmember} AS m ON m.leadid = l.id
    WHERE NOT m.is_deleted
),
told AS (
    SELECT
        d.id AS opportunity_id,
        d.accountid AS account_id,
        CASE
            WHEN s.contact_id IS NOT NULL THEN s.leadsource
            WHEN l.id IS NOT NULL THEN l.leadsource
            ELSE d.leadsource
        END AS opportunity_source,
        CASE
            WHEN s.contact_id IS NOT NULL THEN 'outbound within {days:outbound_days} days'
            WHEN l.id IS NOT NULL THEN 'converted lead'
            ELSE 'manual'
        END AS source_rule,
        l.id AS lead_id,
        l.leadsource AS lead_source,
        d.leadsource AS own_lead_source,
        s.contact_id AS outbound_contact_id,
        s.createddate AS outbound_at,
        coalesce(b.campaign_id, d.campaignid) AS primary_campaign_id,
        d.amount,
        d.createddate AS created_at,
        d.iswon AS is_won,
        d.isclosed AS is_closed
    FROM deals AS d
    LEFT JOIN converted AS l ON l.opportunity_id = d.id
    LEFT JOIN spoken_to AS s ON s.opportunity_id = d.id AND s.place = 1
    LEFT JOIN brought AS b ON b.opportunity_id = d.id AND b.place = 1
)
SELECT
    opportunity_id,
    account_id,
    opportunity_source,
    {origin:opportunity_source} AS source_origin,
    source_rule,
    lead_id,
    lead_source,
    own_lead_source,
    outbound_contact_id,
    outbound_at,
    primary_campaign_id,
    amount,
    created_at,
    is_won,
    is_closed
FROM told
