-- In which stage of each journey everybody was, from when until when; until is null for the present one.
SELECT
    name AS journey,
    subject,
    member_id,
    value AS stage,
    since,
    until,
    lag(value) OVER (PARTITION BY name, member_id ORDER BY since) AS stage_before,
    version
FROM members
WHERE kind = 'journey'
