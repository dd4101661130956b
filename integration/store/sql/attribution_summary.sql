-- What came of each channel and campaign, by model and by the month (UTC) in which opportunities were created. Counts
-- are credit: an opportunity that three touches share is a part of one in each.
SELECT
    model,
    channel,
    utm_campaign,
    CAST(date_trunc('month', created_at AT TIME ZONE 'UTC') AS DATE) AS month,
    sum(weight) AS opportunities,
    coalesce(sum(CASE WHEN is_won THEN weight END), 0) AS won,
    coalesce(sum(amount), 0) AS amount,
    coalesce(sum(CASE WHEN is_won THEN amount END), 0) AS won_amount
FROM attribution
GROUP BY 1, 2, 3, 4
