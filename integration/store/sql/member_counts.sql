-- How many each definition is true of, whenever that changed.
WITH moved AS (
    SELECT kind, name, since AS "time", 1 AS came, 0 AS went FROM members
    UNION ALL
    SELECT kind, name, until AS "time", 0 AS came, 1 AS went FROM members WHERE until IS NOT NULL
),
counted AS (
    SELECT kind, name, "time", sum(came)::BIGINT AS came, sum(went)::BIGINT AS went
    FROM moved
    GROUP BY kind, name, "time"
)
SELECT
    kind,
    name,
    "time",
    sum(came - went) OVER (PARTITION BY kind, name ORDER BY "time")::BIGINT AS size,
    came,
    went
FROM counted
