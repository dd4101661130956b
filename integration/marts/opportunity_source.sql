-- Where each opportunity comes from: the source of the lead that was converted to it, unless sales had spoken to
-- somebody at the account in the 60 days before the lead came; and the campaign that brought the lead.
WITH deals AS (
    SELECT o.id, o.accountid, o.amount, o.createddate, o.leadsource, o.campaignid, o.iswon, o.isclosed
    FROM {salesforce.opportunity} AS o
    WHERE {among:o.id} AND NOT o.is_deleted
),
ranked AS (
    SELECT
        l.id,
        l.leadsource,
        l.createddate,
        l.convertedaccountid,
        l.convertedopportunityid AS opportunity_id,
        row_number() OVER (
            PARTITION BY l.convertedopportunityid ORDER BY l.converteddate, l.createddate, l.id
        ) AS place
    FROM {salesforce.lead} AS l
    WHERE {among:l.convertedopportunityid} AND l.isconverted
),
converted AS (
    SELECT r.*, coalesce(d.accountid, r.convertedaccountid) AS account_id
    FROM ranked AS r
    JOIN deals AS d ON d.id = r.opportunity_id
    WHERE r.place = 1
),
spoken_to AS (
    SELECT
        l.opportunity_id,
        c.id AS contact_id,
        c.leadsource,
        c.createddate,
        row_number() OVER (PARTITION BY l.opportunity_id ORDER BY c.createddate, c.id) AS place
    FROM converted AS l
    JOIN {salesforce.contact} AS c ON c.accountid = l.account_id
    WHERE NOT c.is_deleted
        AND {outbound:c.leadsource}
        AND c.createddate <= l.createddate
        AND epoch(l.createddate) - epoch(c.createddate) <= 5184000
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
)
SELECT
    d.id AS opportunity_id,
    d.accountid AS account_id,
    CASE
        WHEN s.contact_id IS NOT NULL THEN s.leadsource
        WHEN l.id IS NOT NULL THEN l.leadsource
        ELSE d.leadsource
    END AS opportunity_source,
    CASE
        WHEN s.contact_id IS NOT NULL THEN 'outbound within 60 days'
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
