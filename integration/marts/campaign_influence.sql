-- The campaigns that people with a role in an opportunity became members of in the days before it was created (30, unless set
-- otherwise).
-- A membership counts from when it was made; one that a lead brought into its conversion is the contact's.
WITH deals AS (
    SELECT o.id, o.accountid, o.amount, o.createddate, o.iswon, o.isclosed
    FROM {salesforce.opportunity} AS o
    WHERE {among:o.id} AND NOT o.is_deleted
),
named AS (
    SELECT DISTINCT r.opportunityid AS opportunity_id, r.contactid AS contact_id
    FROM {salesforce.opportunitycontactrole} AS r
    WHERE {among:r.opportunityid} AND NOT r.is_deleted AND r.contactid IS NOT NULL
),
belonging AS (
    SELECT n.opportunity_id, n.contact_id, m.id AS member_id
    FROM named AS n
    JOIN {salesforce.campaignmember} AS m ON m.contactid = n.contact_id
    UNION
    SELECT n.opportunity_id, n.contact_id, m.id AS member_id
    FROM named AS n
    JOIN {salesforce.lead} AS l ON l.convertedcontactid = n.contact_id
    JOIN {salesforce.campaignmember} AS m ON m.leadid = l.id
),
counted AS (
    SELECT
        d.id AS opportunity_id,
        d.accountid AS account_id,
        m.campaignid AS campaign_id,
        b.member_id,
        b.contact_id,
        m.createddate AS "time",
        m.hasresponded AS has_responded,
        d.amount,
        d.createddate AS created_at,
        d.iswon AS is_won,
        d.isclosed AS is_closed,
        row_number() OVER (
            PARTITION BY d.id, m.campaignid ORDER BY m.createddate, b.member_id, b.contact_id
        ) AS place
    FROM deals AS d
    JOIN belonging AS b ON b.opportunity_id = d.id
    JOIN {salesforce.campaignmember} AS m ON m.id = b.member_id
    WHERE NOT m.is_deleted
        AND m.createddate <= d.createddate
        AND epoch(d.createddate) - epoch(m.createddate) <= {seconds:influence_days}
)
SELECT
    opportunity_id,
    account_id,
    campaign_id,
    member_id,
    contact_id,
    "time",
    CAST(floor((epoch(created_at) - epoch("time")) / 86400) AS BIGINT) AS days_before,
    has_responded,
    amount,
    created_at,
    is_won,
    is_closed
FROM counted
WHERE place = 1
