WITH deals AS (
  SELECT
    o.id AS "id",
    o.accountid AS "accountid",
    o.amount AS "amount",
    o.createddate AS "createddate",
    o.iswon AS "iswon",
    o.isclosed AS "isclosed"
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
    FROM salesforce.opportunity AS "opportunity"
  ) AS o
  WHERE
    NOT (
      o.id IS NULL
    ) AND NOT o.is_deleted
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
    FROM salesforce.opportunitycontactrole AS "opportunitycontactrole"
  ) AS r
  WHERE
    NOT (
      r.opportunityid IS NULL
    )
    AND NOT r.is_deleted
    AND NOT (
      r.contactid IS NULL
    )
), belonging AS (
  SELECT
    n.opportunity_id AS "opportunity_id",
    n.contact_id AS "contact_id",
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
    FROM salesforce.campaignmember AS "campaignmember"
  ) AS m
    ON m.contactid = n.contact_id
  UNION DISTINCT
  SELECT
    n.opportunity_id AS "opportunity_id",
    n.contact_id AS "contact_id",
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
    FROM salesforce.lead AS "lead"
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
    FROM salesforce.campaignmember AS "campaignmember"
  ) AS m
    ON m.leadid = l.id
), counted AS (
  SELECT
    d.id AS opportunity_id,
    d.accountid AS account_id,
    m.campaignid AS campaign_id,
    b.member_id AS "member_id",
    b.contact_id AS "contact_id",
    m.createddate AS "time",
    m.hasresponded AS has_responded,
    d.amount AS "amount",
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
    FROM salesforce.campaignmember AS "campaignmember"
  ) AS m
    ON m.id = b.member_id
  WHERE
    NOT m.is_deleted
    AND m.createddate <= d.createddate
    AND (
      toUnixTimestamp64Micro(d.createddate) / 1000000
    ) - (
      toUnixTimestamp64Micro(m.createddate) / 1000000
    ) <= 2592000
)
SELECT
  opportunity_id,
  account_id,
  campaign_id,
  member_id,
  contact_id,
  "time",
  CAST(FLOOR(
    (
      (
        toUnixTimestamp64Micro(created_at) / 1000000
      ) - (
        toUnixTimestamp64Micro("time") / 1000000
      )
    ) / 86400
  ) AS Nullable(Int64)) AS days_before,
  has_responded,
  amount,
  created_at,
  is_won,
  is_closed
FROM counted
WHERE
  place = 1
