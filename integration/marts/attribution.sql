-- Which touches an opportunity is owed to, by five models: one row per opportunity, model and touch that gets credit.
-- Weights are millionths and amounts cents, rounded down; what is left over goes to the last touch, so that the weights
-- of an opportunity and model make 1, and the amounts its Amount.
WITH deals AS (
    SELECT o.id, o.accountid, o.amount, o.createddate, o.iswon, o.isclosed
    FROM {salesforce.opportunity} AS o
    WHERE {among:o.id} AND NOT o.is_deleted
),
named AS (
    SELECT DISTINCT r.opportunityid AS opportunity_id, i.user_id
    FROM {salesforce.opportunitycontactrole} AS r
    JOIN identities AS i ON i.alias = r.contactid
    WHERE {among:r.opportunityid} AND NOT r.is_deleted
),
people AS (
    SELECT opportunity_id, user_id FROM named
    UNION ALL
    SELECT d.id AS opportunity_id, u.user_id
    FROM deals AS d
    JOIN users AS u ON u.account_id = d.accountid
    WHERE NOT u.is_deleted AND d.id NOT IN (SELECT opportunity_id FROM named)
),
came AS (
    SELECT
        d.id AS opportunity_id,
        t.touch_id,
        t.user_id,
        t."time",
        t.channel,
        t.utm_source,
        t.utm_medium,
        t.utm_campaign,
        count(*) OVER (PARTITION BY d.id) AS touches,
        row_number() OVER (PARTITION BY d.id ORDER BY t."time", t.touch_id) AS place,
        row_number() OVER (PARTITION BY d.id ORDER BY t."time" DESC, t.touch_id DESC) AS from_last,
        -- Who comes back by themselves comes back for what brought them before: as in user_touches.
        row_number() OVER (
            PARTITION BY d.id
            ORDER BY CASE WHEN t.channel = 'direct' THEN 1 ELSE 0 END, t."time" DESC, t.touch_id DESC
        ) AS from_last_campaign,
        -- As against the last touch: it is the same in the end, and no power of long ago.
        epoch(max(t."time") OVER (PARTITION BY d.id)) - epoch(t."time") AS seconds
    FROM deals AS d
    JOIN people AS p ON p.opportunity_id = d.id
    JOIN touches AS t ON t.user_id = p.user_id
    WHERE t."time" < d.createddate
),
decayed AS (
    SELECT
        *,
        CASE WHEN seconds > 100 * {seconds:half_life_days} THEN 0.0 ELSE pow(2.0, -seconds / {seconds:half_life_days}.0) END
            AS remains
    FROM came
),
shared AS (
    SELECT *, remains / sum(remains) OVER (PARTITION BY opportunity_id) AS share FROM decayed
),
models AS (
    SELECT 'first' AS model
    UNION ALL SELECT 'last'
    UNION ALL SELECT 'linear'
    UNION ALL SELECT 'position'
    UNION ALL SELECT 'time_decay'
),
owed AS (
    SELECT
        s.*,
        m.model,
        m.model IN ('first', 'last') OR s.from_last = 1 AS takes_the_rest,
        CAST(floor(CASE
            WHEN m.model = 'first' OR m.model = 'last' THEN 1000000.0
            WHEN m.model = 'linear' THEN 1000000.0 / s.touches
            WHEN m.model = 'time_decay' THEN 1000000.0 * s.share + 0.000001
            WHEN s.touches < 3 THEN 1000000.0 / s.touches
            WHEN s.place = 1 OR s.from_last = 1 THEN 400000.0
            ELSE 200000.0 / nullif(s.touches - 2, 0)
        END) AS BIGINT) AS millionths
    FROM shared AS s
    CROSS JOIN models AS m
    WHERE CASE m.model WHEN 'first' THEN s.place = 1 WHEN 'last' THEN s.from_last_campaign = 1 ELSE true END
),
added AS (
    SELECT *, CAST(sum(millionths) OVER (PARTITION BY opportunity_id, model) AS BIGINT) AS given FROM owed
),
weighed AS (
    SELECT *, CASE WHEN takes_the_rest THEN 1000000 - given + millionths ELSE millionths END AS parts FROM added
),
credited AS (
    SELECT
        d.id AS opportunity_id,
        coalesce(w.model, m.model) AS model,
        w.touch_id, w.user_id, w."time", w.utm_source, w.utm_medium, w.utm_campaign,
        coalesce(w.channel, 'unattributed') AS channel,
        coalesce(w.parts, 1000000) AS parts,
        coalesce(w.takes_the_rest, true) AS takes_the_rest,
        d.accountid, d.amount, d.createddate, d.iswon, d.isclosed
    FROM deals AS d
    CROSS JOIN models AS m
    LEFT JOIN weighed AS w ON w.opportunity_id = d.id AND w.model = m.model
    WHERE coalesce(w.parts, 1000000) > 0
),
priced AS (
    SELECT
        *,
        CASE WHEN amount < 0 THEN -1 ELSE 1 END
            * floor(abs(CAST(amount AS DECIMAL(38, 6))) * parts * CAST('0.0001' AS DECIMAL(18, 4)))
            * CAST('0.01' AS DECIMAL(18, 2)) AS part_of_amount
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
    parts * CAST('0.000001' AS DECIMAL(18, 6)) AS weight,
    -- No CASE between two numbers: it would give them the digits of one.
    part_of_amount + (amount - sum(part_of_amount) OVER (PARTITION BY opportunity_id, model))
        * CASE WHEN takes_the_rest THEN 1 ELSE 0 END AS amount,
    createddate AS created_at,
    iswon AS is_won,
    isclosed AS is_closed
FROM priced
