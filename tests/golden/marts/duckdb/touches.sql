-- How people came: each visit with its channel, and its place among the visits of the person, from both ends.
WITH came AS (
    SELECT
        *,
        lower(utm_medium) AS medium,
        lower(referrer) AS came_from,
        split_part(split_part(lower(referrer), '://', 2), '/', 1) AS host,
        split_part(split_part(lower(landing_page), '://', 2), '/', 1) AS own_host
    FROM sessions
    WHERE user_id IS NOT NULL
),
known AS (
    SELECT
        *,
        CASE
            WHEN medium IN ('cpc', 'ppc', 'cpm', 'paid', 'paidsearch', 'paid-search', 'display', 'banner', 'retargeting')
                THEN 'paid'
            WHEN medium IN ('email', 'e-mail', 'newsletter') THEN 'email'
            WHEN medium IN ('social', 'social-media', 'social-network', 'sm') THEN 'social'
            WHEN medium IN ('affiliate', 'partner') THEN 'partner'
            WHEN medium = 'organic' THEN 'search'
            WHEN medium = 'referral' THEN 'referral'
            WHEN utm_source IS NOT NULL OR utm_medium IS NOT NULL OR utm_campaign IS NOT NULL THEN 'campaign'
            WHEN came_from IS NULL OR host IS NULL OR host = '' OR host = own_host THEN 'direct'
            WHEN host LIKE 'www.google.%' OR host LIKE 'google.%' OR host LIKE '%.bing.com' OR host LIKE '%duckduckgo.com'
                OR host LIKE '%search.yahoo.%' OR host LIKE '%.ecosia.org' OR host LIKE '%.baidu.com'
                THEN 'search'
            ELSE 'referral'
        END AS channel
    FROM came
)
SELECT
    session_id AS touch_id,
    user_id,
    "time",
    channel,
    utm_source,
    utm_medium,
    utm_campaign,
    utm_term,
    utm_content,
    referrer,
    landing_page,
    row_number() OVER (PARTITION BY user_id ORDER BY "time", session_id) AS place,
    row_number() OVER (PARTITION BY user_id ORDER BY "time" DESC, session_id DESC) AS place_from_last,
    -- The touch that counts as the last one: who comes back by themselves comes back for what brought them before.
    row_number() OVER (
        PARTITION BY user_id ORDER BY CASE WHEN channel = 'direct' THEN 1 ELSE 0 END, "time" DESC, session_id DESC
    ) AS place_from_last_campaign
FROM known
