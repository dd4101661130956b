WITH deals AS (
  SELECT
    o.id,
    o.createddate,
    o.is_deleted
  FROM (
    SELECT
      "id",
      "accountid",
      "ownerid",
      "stagename",
      "amount",
      "closedate",
      "createddate",
      "is_deleted",
      "isclosed",
      "iswon"
    FROM salesforce.opportunity
  ) AS o
  WHERE
    NOT o.id IS NULL
), held AS (
  SELECT
    v.record_id,
    v.field,
    v.value,
    v.since,
    v.until
  FROM (
    WITH raw AS (
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'AccountId' AS field,
        'AccountId' AS property,
        'text' AS type,
        r."accountid" AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
      UNION ALL
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'OwnerId' AS field,
        'OwnerId' AS property,
        'text' AS type,
        r."ownerid" AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
      UNION ALL
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'StageName' AS field,
        'StageName' AS property,
        'text' AS type,
        r."stagename" AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
      UNION ALL
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'Amount' AS field,
        'Amount' AS property,
        'decimal' AS type,
        CAST(r."amount" AS TEXT) AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
      UNION ALL
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'CloseDate' AS field,
        'CloseDate' AS property,
        'date' AS type,
        CAST(r."closedate" AS TEXT) AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
      UNION ALL
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'IsClosed' AS field,
        'IsClosed' AS property,
        'boolean' AS type,
        CAST(r."isclosed" AS TEXT) AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
      UNION ALL
      SELECT
        'Opportunity' AS object,
        r.id AS record_id,
        'IsWon' AS field,
        'IsWon' AS property,
        'boolean' AS type,
        CAST(r."iswon" AS TEXT) AS value,
        r.createddate AS since
      FROM (
        SELECT
          "id",
          "accountid",
          "ownerid",
          "stagename",
          "amount",
          "closedate",
          "createddate",
          "is_deleted",
          "isclosed",
          "iswon"
        FROM salesforce.opportunity
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM deals
        )
    ), plain AS (
      SELECT
        object,
        record_id,
        field,
        property,
        type,
        since,
        CASE
          WHEN type IN ('decimal', 'timestamptz') AND value LIKE '%.%'
          THEN REGEXP_REPLACE(value, '[.]?0+$', '')
          ELSE value
        END AS value
      FROM raw
    ), present AS (
      SELECT
        object,
        record_id,
        field,
        property,
        since,
        CASE WHEN type = 'timestamptz' THEN REPLACE(value, ' ', 'T') || 'Z' ELSE value END AS value
      FROM plain
    ), ends AS (
      SELECT
        c.record_id,
        c.field,
        c."time",
        CASE WHEN w.way > 0 THEN c.new_value ELSE c.old_value END AS value,
        w.way,
        CASE WHEN c.origin = 'history' THEN 0 ELSE 1 END AS is_seen,
        c.event_id
      FROM changes AS c
      CROSS JOIN (
        SELECT
          1 AS way
        UNION ALL
        SELECT
          -1 AS way
      ) AS w
      WHERE
        c.record_id IN (
          SELECT
            id
          FROM deals
        )
        AND c.field IN ('AccountId', 'OwnerId', 'StageName', 'Amount', 'CloseDate', 'IsClosed', 'IsWon')
    ), summed AS (
      SELECT
        record_id,
        field,
        "time",
        value,
        SUM(way) AS more,
        MAX(is_seen) AS is_seen,
        MAX(event_id) AS told_by
      FROM ends
      GROUP BY
        record_id,
        field,
        "time",
        value
      HAVING
        SUM(way) <> 0
    ), ranked AS (
      SELECT
        record_id,
        field,
        "time",
        value,
        more,
        ROW_NUMBER() OVER (
          PARTITION BY record_id, field, "time", CASE WHEN more > 0 THEN 1 ELSE 0 END
          ORDER BY is_seen DESC NULLS LAST, told_by DESC NULLS LAST, COALESCE(value, '')
        ) AS place
      FROM summed
    ), edits AS (
      SELECT
        record_id,
        field,
        "time",
        MAX(CASE WHEN more > 0 THEN value END) AS value,
        MAX(CASE WHEN more < 0 THEN value END) AS old_value
      FROM ranked
      WHERE
        place = 1
      GROUP BY
        record_id,
        field,
        "time"
    ), neighbours AS (
      SELECT
        record_id,
        field,
        "time",
        value,
        old_value,
        LAG("time") OVER (PARTITION BY record_id, field ORDER BY "time") AS last_time,
        LAG(value) OVER (PARTITION BY record_id, field ORDER BY "time") AS last_value,
        LEAD("time") OVER (PARTITION BY record_id, field ORDER BY "time") AS next_time
      FROM edits
    ), lived AS (
      SELECT
        n.record_id,
        n.field,
        n."time",
        n.value,
        n.old_value,
        n.last_time,
        n.next_time,
        MAX(
          CASE
            WHEN n.last_time <= l."time"
            AND l."time" < n."time"
            AND n.old_value IS DISTINCT FROM n.last_value
            THEN l."time"
          END
        ) AS turned_before,
        MAX(CASE WHEN n.next_time IS NULL AND n."time" <= l."time" THEN l."time" END) AS turned_after
      FROM neighbours AS n
      LEFT JOIN (
        SELECT
          record_id,
          "time"
        FROM events
        WHERE
          record_id IN (
            SELECT
              id
            FROM deals
          )
          AND (
            name LIKE '% Deleted' OR name LIKE '% Restored' OR name LIKE '% Merged'
          )
      ) AS l
        ON l.record_id = n.record_id
      GROUP BY
        n.record_id,
        n.field,
        n."time",
        n.value,
        n.old_value,
        n.last_time,
        n.next_time
    ), bounded AS (
      SELECT
        record_id,
        field,
        "time",
        value,
        old_value,
        last_time,
        turned_before,
        turned_after,
        COALESCE(
          turned_after,
          LEAD(turned_before) OVER (PARTITION BY record_id, field ORDER BY "time"),
          next_time
        ) AS until
      FROM lived
    ), known AS (
      SELECT
        b.record_id,
        b.field,
        CASE WHEN p.part = 3 THEN b.value ELSE b.old_value END AS value,
        CASE
          WHEN p.part = 2
          THEN b.turned_before
          WHEN p.part = 3
          THEN b."time"
          WHEN p.part = 4
          THEN b.turned_after
        END AS since,
        CASE WHEN p.part < 3 THEN b."time" WHEN p.part = 3 THEN b.until END AS until
      FROM bounded AS b
      CROSS JOIN (
        SELECT
          1 AS part
        UNION ALL
        SELECT
          2 AS part
        UNION ALL
        SELECT
          3 AS part
        UNION ALL
        SELECT
          4 AS part
      ) AS p
      WHERE
        p.part = 3
        OR (
          p.part = 1 AND b.last_time IS NULL
        )
        OR (
          p.part = 2 AND NOT b.turned_before IS NULL
        )
        OR (
          p.part = 4 AND NOT b.turned_after IS NULL
        )
    )
    SELECT
      object,
      record_id,
      field,
      property,
      value,
      since,
      until
    FROM (
      SELECT
        p.object,
        p.record_id,
        p.field,
        p.property,
        CASE WHEN k.until IS NULL THEN p.value ELSE k.value END AS value,
        COALESCE(k.since, p.since) AS since,
        k.until AS until
      FROM present AS p
      LEFT JOIN known AS k
        ON k.record_id = p.record_id AND k.field = p.field
    ) AS told
    WHERE
      until IS NULL OR since IS NULL OR since < until
  ) AS v
), turns AS (
  SELECT
    e.record_id,
    e."time" AS until,
    CASE WHEN e.name = 'Opportunity Restored' THEN 1 ELSE 0 END AS was_deleted,
    0 AS is_last
  FROM events AS e
  WHERE
    e.record_id IN (
      SELECT
        id
      FROM deals
    )
    AND e.name IN ('Opportunity Deleted', 'Opportunity Restored')
  UNION ALL
  SELECT
    id AS record_id,
    CAST(NULL AS TIMESTAMPTZ) AS until,
    CASE WHEN is_deleted THEN 1 ELSE 0 END AS was_deleted,
    1 AS is_last
  FROM deals
), lives AS (
  SELECT
    record_id,
    until,
    was_deleted,
    LAG(until) OVER (PARTITION BY record_id ORDER BY is_last, until) AS since
  FROM turns
), moments AS (
  SELECT
    record_id,
    since
  FROM held
  WHERE
    NOT since IS NULL
  UNION
  SELECT
    record_id,
    since
  FROM lives
  WHERE
    NOT since IS NULL
), stretches AS (
  SELECT
    record_id,
    since,
    LEAD(since) OVER (PARTITION BY record_id ORDER BY since) AS until
  FROM moments
), filled AS (
  SELECT
    s.record_id,
    s.since,
    s.until,
    MAX(CASE WHEN h.field = 'AccountId' THEN h.value END) AS account_id,
    MAX(CASE WHEN h.field = 'OwnerId' THEN h.value END) AS owner_id,
    MAX(CASE WHEN h.field = 'StageName' THEN h.value END) AS stage,
    MAX(CASE WHEN h.field = 'Amount' THEN h.value END) AS amount,
    MAX(CASE WHEN h.field = 'CloseDate' THEN h.value END) AS close_date,
    MAX(CASE WHEN h.field = 'IsClosed' THEN h.value END) AS is_closed,
    MAX(CASE WHEN h.field = 'IsWon' THEN h.value END) AS is_won,
    MAX(CASE WHEN h.field = 'StageName' AND NOT h.until IS NULL THEN 1 ELSE 0 END) AS has_moved_on,
    MAX(
      CASE
        WHEN h.field = 'IsClosed' AND h.since = d.createddate AND h.until IS NULL
        THEN 1
        ELSE 0
      END
    ) AS closed_as_ever,
    MAX(
      CASE
        WHEN h.field = 'IsWon' AND h.since = d.createddate AND h.until IS NULL
        THEN 1
        ELSE 0
      END
    ) AS won_as_ever
  FROM stretches AS s
  JOIN deals AS d
    ON d.id = s.record_id
  JOIN lives AS l
    ON l.record_id = s.record_id
  JOIN held AS h
    ON h.record_id = s.record_id
  WHERE
    l.was_deleted = 0
    AND (
      l.since IS NULL OR l.since <= s.since
    )
    AND (
      l.until IS NULL OR s.since < l.until
    )
    AND (
      h.since IS NULL OR h.since <= s.since
    )
    AND (
      h.until IS NULL OR s.since < h.until
    )
  GROUP BY
    s.record_id,
    s.since,
    s.until
)
SELECT
  record_id AS opportunity_id,
  since,
  until,
  CAST((
    since AT TIME ZONE 'UTC'
  ) AS DATE) AS first_day,
  CAST((
    until AT TIME ZONE 'UTC'
  ) AS DATE) - 1 AS last_day,
  account_id,
  owner_id,
  stage,
  CASE WHEN amount ~ '^-?[0-9]+([.][0-9]+)?$' THEN CAST(amount AS DECIMAL) END AS amount,
  CASE
    WHEN close_date ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
    THEN CAST(close_date AS DATE)
  END AS close_date,
  CASE
    WHEN has_moved_on + closed_as_ever < 2
    THEN CASE is_closed WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END
  END AS is_closed,
  CASE
    WHEN has_moved_on + won_as_ever < 2
    THEN CASE is_won WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END
  END AS is_won
FROM filled
