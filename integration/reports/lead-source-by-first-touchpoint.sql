-- Who says that people came, by how they first made themselves known; outbound people have often not done so yet.
-- Picture: stacks of people by lead_source, first_touchpoint, others added up
WITH people AS (
    SELECT
        coalesce(f.lead_source, '(unknown)') AS lead_source,
        coalesce(f.lead_source_origin, '(unknown)') AS origin,
        f.is_outbound,
        CASE
            WHEN f.first_touchpoint_kind IS NULL THEN '(uncategorised)'
            WHEN f.first_touchpoint_kind = 'campaign' THEN coalesce(c.name, f.first_campaign_id)
            ELSE upper(substr(f.first_touchpoint_kind, 1, 1)) || substr(f.first_touchpoint_kind, 2)
        END AS first_touchpoint,
        u.account_id
    FROM first_touchpoints AS f
    JOIN users AS u ON u.user_id = f.user_id
    LEFT JOIN salesforce.campaign AS c ON c.id = f.first_campaign_id
    WHERE NOT u.is_deleted AND coalesce(u.contact_id, u.lead_id) IS NOT NULL
),
won AS (
    SELECT account_id FROM accounts WHERE sfdc_opportunity_won_count > 0
)
SELECT
    p.lead_source,
    p.origin,
    p.is_outbound,
    p.first_touchpoint,
    count(*) AS people,
    count(DISTINCT p.account_id) AS accounts,
    count(DISTINCT w.account_id) AS accounts_that_won
FROM people AS p
LEFT JOIN won AS w ON w.account_id = p.account_id
GROUP BY 1, 2, 3, 4
ORDER BY people DESC, lead_source, first_touchpoint
