WITH came AS (
  SELECT
    *,
    lowerUTF8(utm_medium) AS medium,
    lowerUTF8(referrer) AS came_from,
    if(
      isNull(
        if(
          isNull(lowerUTF8(referrer)),
          NULL,
          arrayElement(splitByString('://', assumeNotNull(lowerUTF8(referrer))), 2)
        )
      ),
      NULL,
      arrayElement(
        splitByString(
          '/',
          assumeNotNull(
            if(
              isNull(lowerUTF8(referrer)),
              NULL,
              arrayElement(splitByString('://', assumeNotNull(lowerUTF8(referrer))), 2)
            )
          )
        ),
        1
      )
    ) AS host,
    if(
      isNull(
        if(
          isNull(lowerUTF8(landing_page)),
          NULL,
          arrayElement(splitByString('://', assumeNotNull(lowerUTF8(landing_page))), 2)
        )
      ),
      NULL,
      arrayElement(
        splitByString(
          '/',
          assumeNotNull(
            if(
              isNull(lowerUTF8(landing_page)),
              NULL,
              arrayElement(splitByString('://', assumeNotNull(lowerUTF8(landing_page))), 2)
            )
          )
        ),
        1
      )
    ) AS own_host
  FROM sessions AS "sessions"
  WHERE
    NOT (
      user_id IS NULL
    )
), known AS (
  SELECT
    *,
    CASE
      WHEN medium IN (
        'cpc',
        'ppc',
        'cpm',
        'paid',
        'paidsearch',
        'paid-search',
        'display',
        'banner',
        'retargeting'
      )
      THEN 'paid'
      WHEN medium IN ('email', 'e-mail', 'newsletter')
      THEN 'email'
      WHEN medium IN ('social', 'social-media', 'social-network', 'sm')
      THEN 'social'
      WHEN medium IN ('affiliate', 'partner')
      THEN 'partner'
      WHEN medium = 'organic'
      THEN 'search'
      WHEN medium = 'referral'
      THEN 'referral'
      WHEN NOT (
        utm_source IS NULL
      )
      OR NOT (
        utm_medium IS NULL
      )
      OR NOT (
        utm_campaign IS NULL
      )
      THEN 'campaign'
      WHEN came_from IS NULL OR host IS NULL OR host = '' OR host = own_host
      THEN 'direct'
      WHEN host LIKE 'www.google.%'
      OR host LIKE 'google.%'
      OR host LIKE '%.bing.com'
      OR host LIKE '%duckduckgo.com'
      OR host LIKE '%search.yahoo.%'
      OR host LIKE '%.ecosia.org'
      OR host LIKE '%.baidu.com'
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
  ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY "time", session_id) AS place,
  ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY "time" DESC, session_id DESC) AS place_from_last,
  ROW_NUMBER() OVER (
    PARTITION BY user_id
    ORDER BY CASE WHEN channel = 'direct' THEN 1 ELSE 0 END, "time" DESC, session_id DESC
  ) AS place_from_last_campaign
FROM known
