-- How each person first made themselves known, and who says they came: one row per person. Whom sales brought in
-- (outbound) has no first touchpoint until they respond or sign up by themselves, later than they became known. A talk
-- with sales is none.
WITH people AS (
    SELECT
        u.user_id,
        u.first_seen,
        coalesce(c.leadsource, l.leadsource) AS lead_source
    FROM users AS u
    LEFT JOIN {salesforce.contact} AS c ON c.id = u.contact_id
    LEFT JOIN {salesforce.lead} AS l ON l.id = u.lead_id
),
sourced AS (
    SELECT
        *,
        CASE WHEN {outbound:lead_source} THEN true ELSE false END AS is_outbound,
        {origin:lead_source} AS lead_source_origin
    FROM people
),
counted AS (
    SELECT t.*, row_number() OVER (PARTITION BY t.user_id ORDER BY t.place) AS counted_place
    FROM touchpoints AS t
    JOIN sourced AS s ON s.user_id = t.user_id
    WHERE t.kind <> 'sales' AND (NOT s.is_outbound OR t.kind <> 'campaign' OR t."time" > s.first_seen)
)
SELECT
    s.user_id,
    s.lead_source,
    s.lead_source_origin,
    s.is_outbound,
    t."time" AS first_touchpoint_at,
    t.kind AS first_touchpoint_kind,
    t.touchpoint_id AS first_touchpoint_id,
    t.campaign_id AS first_campaign_id
FROM sourced AS s
LEFT JOIN counted AS t ON t.user_id = s.user_id AND t.counted_place = 1
