-- What was known of a person when: the values of the records they showed, while they showed them.
SELECT
    r.user_id, v.property, v.value,
    CASE WHEN r.since IS NULL OR v.since > r.since THEN v.since ELSE r.since END AS since,
    CASE WHEN r.until IS NULL OR v.until < r.until THEN v.until ELSE r.until END AS until
FROM user_records AS r
JOIN record_values AS v ON v.record_id = r.record_id AND v.object = r.object
WHERE (v.until IS NULL OR r.since IS NULL OR r.since < v.until)
    AND (r.until IS NULL OR v.since IS NULL OR v.since < r.until)
