-- Campaigns of the days before opportunities (attribution.influence_days): each of these counts whole for all of them.
-- Picture: bars of opportunities, won, amount, won_amount by campaign
SELECT
    coalesce(c.name, i.campaign_id) AS campaign,
    i.campaign_id,
    count(*) AS opportunities,
    sum(CASE WHEN i.is_won THEN 1 ELSE 0 END)::BIGINT AS won,
    coalesce(sum(i.amount), 0) AS amount,
    coalesce(sum(CASE WHEN i.is_won THEN i.amount END), 0) AS won_amount,
    round(avg(i.days_before), 1) AS days_before
FROM campaign_influence AS i
LEFT JOIN salesforce.campaign AS c ON c.id = i.campaign_id
GROUP BY 1, 2
ORDER BY won_amount DESC, opportunities DESC, campaign, campaign_id
