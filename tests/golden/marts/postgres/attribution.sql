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
    i.user_id
  FROM (
    SELECT
      "id",
      "opportunityid",
      "contactid",
      "is_deleted"
    FROM salesforce.opportunitycontactrole
  ) AS r
  JOIN identities AS i
    ON i.alias = r.contactid
  WHERE
    NOT r.opportunityid IS NULL AND NOT r.is_deleted
), people AS (
  SELECT
    opportunity_id,
    user_id
  FROM named
  UNION ALL
  SELECT
    d.id AS opportunity_id,
    u.user_id
  FROM deals AS d
  JOIN users AS u
    ON u.account_id = d.accountid
  WHERE
    NOT u.is_deleted AND NOT d.id IN (
      SELECT
        opportunity_id
      FROM named
    )
), came AS (
  SELECT
    d.id AS opportunity_id,
    t.touch_id,
    t.user_id,
    t."time",
    t.channel,
    t.utm_source,
    t.utm_medium,
    t.utm_campaign,
    COUNT(*) OVER (PARTITION BY d.id) AS touches,
    ROW_NUMBER() OVER (PARTITION BY d.id ORDER BY t."time", t.touch_id) AS place,
    ROW_NUMBER() OVER (PARTITION BY d.id ORDER BY t."time" DESC NULLS LAST, t.touch_id DESC NULLS LAST) AS from_last,
    ROW_NUMBER() OVER (
      PARTITION BY d.id
      ORDER BY CASE WHEN t.channel = 'direct' THEN 1 ELSE 0 END, t."time" DESC NULLS LAST, t.touch_id DESC NULLS LAST
    ) AS from_last_campaign,
    DATE_PART('epoch', MAX(t."time") OVER (PARTITION BY d.id)) - DATE_PART('epoch', t."time") AS seconds
  FROM deals AS d
  JOIN people AS p
    ON p.opportunity_id = d.id
  JOIN touches AS t
    ON t.user_id = p.user_id
  WHERE
    t."time" < d.createddate
), decayed AS (
  SELECT
    *,
    CASE
      WHEN seconds > 100 * 604800
      THEN 0.0
      ELSE POWER(2.0, CAST(-seconds AS DOUBLE PRECISION) / 604800.0)
    END AS remains
  FROM came
), shared AS (
  SELECT
    *,
    CAST(remains AS DOUBLE PRECISION) / SUM(remains) OVER (PARTITION BY opportunity_id) AS share
  FROM decayed
), models AS (
  SELECT
    'first' AS model
  UNION ALL
  SELECT
    'last'
  UNION ALL
  SELECT
    'linear'
  UNION ALL
  SELECT
    'position'
  UNION ALL
  SELECT
    'time_decay'
), owed AS (
  SELECT
    s.*,
    m.model,
    m.model IN ('first', 'last') OR s.from_last = 1 AS takes_the_rest,
    CAST(FLOOR(
      CASE
        WHEN m.model = 'first' OR m.model = 'last'
        THEN 1000000.0
        WHEN m.model = 'linear'
        THEN CAST(1000000.0 AS DOUBLE PRECISION) / s.touches
        WHEN m.model = 'time_decay'
        THEN 1000000.0 * s.share + 0.000001
        WHEN s.touches < 3
        THEN CAST(1000000.0 AS DOUBLE PRECISION) / s.touches
        WHEN s.place = 1 OR s.from_last = 1
        THEN 400000.0
        ELSE CAST(200000.0 AS DOUBLE PRECISION) / NULLIF(s.touches - 2, 0)
      END
    ) AS BIGINT) AS millionths
  FROM shared AS s
  CROSS JOIN models AS m
  WHERE
    CASE m.model
      WHEN 'first'
      THEN s.place = 1
      WHEN 'last'
      THEN s.from_last_campaign = 1
      ELSE TRUE
    END
), added AS (
  SELECT
    *,
    CAST(SUM(millionths) OVER (PARTITION BY opportunity_id, model) AS BIGINT) AS given
  FROM owed
), weighed AS (
  SELECT
    *,
    CASE WHEN takes_the_rest THEN 1000000 - given + millionths ELSE millionths END AS parts
  FROM added
), credited AS (
  SELECT
    d.id AS opportunity_id,
    COALESCE(w.model, m.model) AS model,
    w.touch_id,
    w.user_id,
    w."time",
    w.utm_source,
    w.utm_medium,
    w.utm_campaign,
    COALESCE(w.channel, 'unattributed') AS channel,
    COALESCE(w.parts, 1000000) AS parts,
    COALESCE(w.takes_the_rest, TRUE) AS takes_the_rest,
    d.accountid,
    d.amount,
    d.createddate,
    d.iswon,
    d.isclosed
  FROM deals AS d
  CROSS JOIN models AS m
  LEFT JOIN weighed AS w
    ON w.opportunity_id = d.id AND w.model = m.model
  WHERE
    COALESCE(w.parts, 1000000) > 0
), priced AS (
  SELECT
    *,
    CASE WHEN amount < 0 THEN -1 ELSE 1 END * FLOOR(ABS(CAST(amount AS DECIMAL)) * parts * CAST('0.0001' AS DECIMAL)) * CAST('0.01' AS DECIMAL) AS part_of_amount
  FROM credited
)
SELECT
  opportunity_id,
  accountid AS account_id,
  model,
  touch_id,
  user_id,
  "time",
  channel,
  utm_source,
  utm_medium,
  utm_campaign,
  parts * CAST('0.000001' AS DECIMAL) AS weight,
  part_of_amount + (
    amount - SUM(part_of_amount) OVER (PARTITION BY opportunity_id, model)
  ) * CASE WHEN takes_the_rest THEN 1 ELSE 0 END AS amount,
  createddate AS created_at,
  iswon AS is_won,
  isclosed AS is_closed
FROM priced
