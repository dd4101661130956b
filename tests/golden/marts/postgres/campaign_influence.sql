WITH deals AS (
  SELECT
    o.id,
    o.accountid,
    o.amount,
    o.createddate,
    o.iswon,
    o.isclosed
  FROM (
    SELECT
      "id",
      "accountid",
      "leadsource",
      "campaignid",
      "amount",
      "createddate",
      "is_deleted",
      "iswon",
      "isclosed"
    FROM salesforce.opportunity
  ) AS o
  WHERE
    NOT o.id IS NULL AND NOT o.is_deleted
), named AS (
  SELECT DISTINCT
    r.opportunityid AS opportunity_id,
    r.contactid AS contact_id
  FROM (
    SELECT
      "id",
      "opportunityid",
      "contactid",
      "is_deleted"
    FROM salesforce.opportunitycontactrole
  ) AS r
  WHERE
    NOT r.opportunityid IS NULL AND NOT r.is_deleted AND NOT r.contactid IS NULL
), belonging AS (
  SELECT
    n.opportunity_id,
    n.contact_id,
    m.id AS member_id
  FROM named AS n
  JOIN (
    SELECT
      "id",
      "campaignid",
      "contactid",
      "leadid",
      "createddate",
      "hasresponded",
      "firstrespondeddate",
      "is_deleted"
    FROM salesforce.campaignmember
  ) AS m
    ON m.contactid = n.contact_id
  UNION
  SELECT
    n.opportunity_id,
    n.contact_id,
    m.id AS member_id
  FROM named AS n
  JOIN (
    SELECT
      "id",
      "leadsource",
      "convertedaccountid",
      "convertedcontactid",
      "convertedopportunityid",
      "converteddate",
      "isconverted",
      "createddate"
    FROM salesforce.lead
  ) AS l
    ON l.convertedcontactid = n.contact_id
  JOIN (
    SELECT
      "id",
      "campaignid",
      "contactid",
      "leadid",
      "createddate",
      "hasresponded",
      "firstrespondeddate",
      "is_deleted"
    FROM salesforce.campaignmember
  ) AS m
    ON m.leadid = l.id
), counted AS (
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
    ROW_NUMBER() OVER (PARTITION BY d.id, m.campaignid ORDER BY m.createddate, b.member_id, b.contact_id) AS place
  FROM deals AS d
  JOIN belonging AS b
    ON b.opportunity_id = d.id
  JOIN (
    SELECT
      "id",
      "campaignid",
      "contactid",
      "leadid",
      "createddate",
      "hasresponded",
      "firstrespondeddate",
      "is_deleted"
    FROM salesforce.campaignmember
  ) AS m
    ON m.id = b.member_id
  WHERE
    NOT m.is_deleted
    AND m.createddate <= d.createddate
    AND DATE_PART('epoch', d.createddate) - DATE_PART('epoch', m.createddate) <= 2592000
)
SELECT
  opportunity_id,
  account_id,
  campaign_id,
  member_id,
  contact_id,
  "time",
  CAST(FLOOR(
    CAST((
      DATE_PART('epoch', created_at) - DATE_PART('epoch', "time")
    ) AS DOUBLE PRECISION) / 86400
  ) AS BIGINT) AS days_before,
  has_responded,
  amount,
  created_at,
  is_won,
  is_closed
FROM counted
WHERE
  place = 1
