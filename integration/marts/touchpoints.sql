-- What people did themselves that makes them known: campaigns they responded to, and sign-ups, installs and forms in the
-- product; and their talks with sales.
WITH responses AS (
    SELECT
        m.id,
        coalesce(m.contactid, m.leadid) AS alias,
        m.campaignid AS campaign_id,
        CASE
            WHEN m.firstrespondeddate > CAST(m.createddate AT TIME ZONE 'UTC' AS DATE)
                THEN CAST(m.firstrespondeddate AS TIMESTAMP) AT TIME ZONE 'UTC'
            ELSE m.createddate
        END AS "time"
    FROM {salesforce.campaignmember} AS m
    WHERE NOT m.is_deleted AND m.hasresponded
),
talks AS (
    SELECT
        t.id,
        t.whoid AS alias,
        coalesce(t.completeddatetime, CAST(t.activitydate AS TIMESTAMP) AT TIME ZONE 'UTC', t.createddate) AS "time"
    FROM {salesforce.task} AS t
    WHERE NOT t.is_deleted AND t.isclosed AND ({talk:t.type} OR {talk:t.tasksubtype} OR {talk:t.subject})
    UNION ALL
    SELECT
        e.id,
        e.whoid AS alias,
        coalesce(
            e.startdatetime, e.activitydatetime, CAST(e.activitydate AS TIMESTAMP) AT TIME ZONE 'UTC', e.createddate
        ) AS "time"
    FROM {salesforce.event} AS e
    WHERE NOT e.is_deleted
),
known AS (
    SELECT i.user_id, m."time", 'campaign' AS kind, m.id AS touchpoint_id, m.campaign_id
    FROM responses AS m
    JOIN identities AS i ON i.alias = m.alias
    WHERE {among:i.user_id}
    UNION ALL
    SELECT i.user_id, t."time", 'sales' AS kind, t.id AS touchpoint_id, NULL AS campaign_id
    FROM talks AS t
    JOIN identities AS i ON i.alias = t.alias
    WHERE {among:i.user_id}
    UNION ALL
    SELECT e.user_id, e."time", {kind:e.name} AS kind, e.event_id AS touchpoint_id, NULL AS campaign_id
    FROM events AS e
    WHERE {among:e.user_id} AND e.origin = 'product' AND {touchpoint:e.name}
)
SELECT
    user_id,
    row_number() OVER (PARTITION BY user_id ORDER BY "time", touchpoint_id) AS place,
    "time",
    kind,
    touchpoint_id,
    campaign_id
FROM known
