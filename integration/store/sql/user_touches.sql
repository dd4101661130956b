-- How each person came first, and what brought them last.
WITH counted AS (
    SELECT user_id, count(*) AS touches FROM touches GROUP BY user_id
)
SELECT
    c.user_id,
    c.touches,
    f."time" AS first_touch_at,
    f.channel AS first_channel,
    f.utm_source AS first_utm_source,
    f.utm_medium AS first_utm_medium,
    f.utm_campaign AS first_utm_campaign,
    f.referrer AS first_referrer,
    f.landing_page AS first_landing_page,
    l."time" AS last_touch_at,
    l.channel AS last_channel,
    l.utm_source AS last_utm_source,
    l.utm_medium AS last_utm_medium,
    l.utm_campaign AS last_utm_campaign,
    l.referrer AS last_referrer,
    l.landing_page AS last_landing_page
FROM counted AS c
JOIN touches AS f ON f.user_id = c.user_id AND f.place = 1
JOIN touches AS l ON l.user_id = c.user_id AND l.place_from_last_campaign = 1
