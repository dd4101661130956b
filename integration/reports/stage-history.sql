-- How long opportunities stay in each stage, in days, as far as the changes of their stage are known.
-- Picture: bars of times_entered, days_on_average, days_median, in_it_now by stage
SELECT
    coalesce(s.stage, '(unknown)') AS stage,
    count(*) AS times_entered,
    count(DISTINCT s.opportunity_id) AS opportunities,
    count(s.until) AS times_left,
    round(avg(epoch(s.until) - epoch(s.since)) / 86400, 1) AS days_on_average,
    round(median(epoch(s.until) - epoch(s.since)) / 86400, 1) AS days_median,
    count(*) FILTER (s.until IS NULL) AS in_it_now
FROM opportunity_stage_history AS s
JOIN salesforce.opportunity AS o ON o.id = s.opportunity_id
WHERE NOT o.is_deleted
GROUP BY 1
ORDER BY times_entered DESC, stage
