-- What opportunities are owed to: won amounts by channel and campaign, as five models of attribution share them out.
-- Picture: bars of won_amount_first, won_amount_last, won_amount_linear, won_amount_position by channel, campaign, others added up
WITH summed AS (
    SELECT
        channel,
        utm_campaign,
        sum(CASE WHEN model = 'linear' THEN opportunities ELSE 0 END) AS opportunities,
        sum(CASE WHEN model = 'linear' THEN won ELSE 0 END) AS won,
        sum(CASE WHEN model = 'first' THEN won_amount ELSE 0 END) AS won_amount_first,
        sum(CASE WHEN model = 'last' THEN won_amount ELSE 0 END) AS won_amount_last,
        sum(CASE WHEN model = 'linear' THEN won_amount ELSE 0 END) AS won_amount_linear,
        sum(CASE WHEN model = 'position' THEN won_amount ELSE 0 END) AS won_amount_position,
        sum(CASE WHEN model = 'time_decay' THEN won_amount ELSE 0 END) AS won_amount_time_decay
    FROM attribution_summary
    GROUP BY channel, utm_campaign
)
SELECT
    channel,
    coalesce(utm_campaign, '(none)') AS campaign,
    opportunities,
    won,
    won_amount_first,
    won_amount_last,
    won_amount_linear,
    won_amount_position,
    won_amount_time_decay
FROM summed
ORDER BY won_amount_linear DESC, opportunities DESC, channel, campaign
