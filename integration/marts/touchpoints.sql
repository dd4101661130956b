-- What people themselves did that makes them known: campaigns they responded to, and sign-ups.
WITH members AS (
    SELECT
        m.id,
        coalesce(m.contactid, m.leadid) AS alias,
        m.campaignid,
        CASE
            WHEN m.firstrespondeddate > CAST(m.createddate AT TIME ZONE 'UTC' AS DATE)
                THEN CAST(m.firstrespondeddate AS TIMESTAMPTZ)
            ELSE m.createddate
        END AS responded_at
    FROM {salesforce.campaignmember} AS m
    WHERE NOT m.is_deleted AND m.hasresponded
),
known AS (
    SELECT i.user_id, m.responded_at AS "time", 'campaign' AS kind, m.id AS touchpoint_id, m.campaignid AS campaign_id
    FROM members AS m
    JOIN identities AS i ON i.alias = m.alias
    WHERE {among:i.user_id}
    UNION ALL
    SELECT e.user_id, e."time", 'sign-up' AS kind, e.event_id AS touchpoint_id, NULL AS campaign_id
    FROM events AS e
    WHERE {among:e.user_id} AND e.origin = 'product' AND e.name IN ('Sign Up', 'Signed Up', 'User Signed Up')
)
SELECT
    user_id,
    row_number() OVER (PARTITION BY user_id ORDER BY "time", touchpoint_id) AS place,
    "time",
    kind,
    touchpoint_id,
    campaign_id
FROM known
