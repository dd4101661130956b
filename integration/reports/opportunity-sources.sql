-- Where opportunities come from, by the rule that says so, with their amounts and those of the won ones.
-- Picture: bars of opportunities, won, amount, won_amount by opportunity_source, source_rule, others added up
SELECT
    coalesce(opportunity_source, '(unknown)') AS opportunity_source,
    coalesce(source_origin, '(unknown)') AS origin,
    source_rule,
    count(*) AS opportunities,
    sum(CASE WHEN is_won THEN 1 ELSE 0 END)::BIGINT AS won,
    coalesce(sum(amount), 0) AS amount,
    coalesce(sum(CASE WHEN is_won THEN amount END), 0) AS won_amount
FROM opportunity_source
GROUP BY 1, 2, 3
ORDER BY won_amount DESC, opportunities DESC, opportunity_source, source_rule
