WITH responses AS (
  SELECT
    m.id,
    COALESCE(m.contactid, m.leadid) AS alias,
    m.campaignid AS campaign_id,
    CASE
      WHEN m.firstrespondeddate > CAST(m.createddate AT TIME ZONE 'UTC' AS DATE)
      THEN CAST(m.firstrespondeddate AS TIMESTAMP) AT TIME ZONE 'UTC'
      ELSE m.createddate
    END AS "time"
  FROM (
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
  WHERE
    NOT m.is_deleted AND m.hasresponded
), talks AS (
  SELECT
    t.id,
    t.whoid AS alias,
    COALESCE(
      t.completeddatetime,
      CAST(t.activitydate AS TIMESTAMP) AT TIME ZONE 'UTC',
      t.createddate
    ) AS "time"
  FROM (
    SELECT
      "id",
      "whoid",
      "activitydate",
      "createddate",
      "is_deleted",
      "type",
      "tasksubtype",
      "subject",
      "completeddatetime",
      "isclosed"
    FROM salesforce.task
  ) AS t
  WHERE
    NOT t.is_deleted
    AND t.isclosed
    AND (
      LOWER(t.type) IN ('call', 'meeting')
      OR LOWER(t.tasksubtype) IN ('call', 'meeting')
      OR LOWER(t.subject) IN ('call', 'meeting')
    )
  UNION ALL
  SELECT
    e.id,
    e.whoid AS alias,
    COALESCE(
      e.startdatetime,
      e.activitydatetime,
      CAST(e.activitydate AS TIMESTAMP) AT TIME ZONE 'UTC',
      e.createddate
    ) AS "time"
  FROM (
    SELECT
      "id",
      "whoid",
      "activitydate",
      "createddate",
      "is_deleted",
      "startdatetime",
      "activitydatetime"
    FROM salesforce.event
  ) AS e
  WHERE
    NOT e.is_deleted
), known AS (
  SELECT
    i.user_id,
    m."time",
    'campaign' AS kind,
    m.id AS touchpoint_id,
    m.campaign_id
  FROM responses AS m
  JOIN identities AS i
    ON i.alias = m.alias
  WHERE
    NOT i.user_id IS NULL
  UNION ALL
  SELECT
    i.user_id,
    t."time",
    'sales' AS kind,
    t.id AS touchpoint_id,
    NULL AS campaign_id
  FROM talks AS t
  JOIN identities AS i
    ON i.alias = t.alias
  WHERE
    NOT i.user_id IS NULL
  UNION ALL
  SELECT
    e.user_id,
    e."time",
    CASE
      WHEN e.name IN ('Sign Up', 'Signed Up', 'User Signed Up')
      THEN 'sign-up'
      WHEN e.name IN ('Instance Installed', 'Server Installed', 'Site Initialized')
      THEN 'install'
      WHEN e.name IN ('Form Submitted', 'Demo Requested', 'Trial Requested', 'Contact Form Submitted')
      THEN 'form'
    END AS kind,
    e.event_id AS touchpoint_id,
    NULL AS campaign_id
  FROM events AS e
  WHERE
    NOT e.user_id IS NULL
    AND e.origin = 'product'
    AND e.name IN (
      'Sign Up',
      'Signed Up',
      'User Signed Up',
      'Instance Installed',
      'Server Installed',
      'Site Initialized',
      'Form Submitted',
      'Demo Requested',
      'Trial Requested',
      'Contact Form Submitted'
    )
)
SELECT
  user_id,
  ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY "time", touchpoint_id) AS place,
  "time",
  kind,
  touchpoint_id,
  campaign_id
FROM known
