-- Open opportunities by stage: how many, their amount, and how many should have closed by today.
-- Picture: bars of opportunities, amount, overdue by stage, others added up
SELECT
    coalesce(stagename, '(unknown)') AS stage,
    count(*) AS opportunities,
    coalesce(sum(amount), 0) AS amount,
    count(*) FILTER (amount IS NULL) AS without_amount,
    min(closedate) AS closes_first,
    count(*) FILTER (closedate < (now() AT TIME ZONE 'UTC')::DATE) AS overdue
FROM salesforce.opportunity
WHERE NOT is_deleted AND NOT coalesce(isclosed, false)
GROUP BY 1
ORDER BY amount DESC, stage
