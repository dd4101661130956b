WITH deals AS (
  SELECT
    o.id,
    o.accountid,
    o.amount,
    o.createddate,
    o.leadsource,
    o.campaignid,
    o.iswon,
    o.isclosed
  FROM (
    SELECT
      "id",
      "accountid",
      "leadsource",
      "campaignid",
      "amount",
      "createddate",
      "is_deleted",
      "iswon",
      "isclosed"
    FROM salesforce.opportunity
  ) AS o
  WHERE
    NOT o.id IS NULL AND NOT o.is_deleted
), in_order AS (
  SELECT
    l.id,
    l.leadsource,
    l.createddate,
    CAST(l.converteddate AS TIMESTAMP) AT TIME ZONE 'UTC' AS converted_on,
    l.convertedaccountid,
    l.convertedopportunityid AS opportunity_id,
    ROW_NUMBER() OVER (
      PARTITION BY l.convertedopportunityid
      ORDER BY l.converteddate, l.createddate, l.id
    ) AS place
  FROM (
    SELECT
      "id",
      "leadsource",
      "convertedaccountid",
      "convertedcontactid",
      "convertedopportunityid",
      "converteddate",
      "isconverted",
      "createddate"
    FROM salesforce.lead
  ) AS l
  WHERE
    NOT l.convertedopportunityid IS NULL AND l.isconverted
), families AS (
  SELECT
    a.id,
    COALESCE(a.masterrecordid, a.id) AS family_id
  FROM (
    SELECT
      "id",
      "masterrecordid"
    FROM salesforce.account
  ) AS a
), witnessed AS (
  SELECT
    c.record_id,
    MAX(c."time") AS "time"
  FROM changes AS c
  WHERE
    c.field = 'IsConverted'
    AND c.new_value = 'true'
    AND c.record_id IN (
      SELECT
        id
      FROM in_order
    )
  GROUP BY
    c.record_id
), converted AS (
  SELECT
    r.id,
    r.leadsource,
    r.createddate,
    r.opportunity_id,
    COALESCE(f.family_id, r.convertedaccountid, d.accountid) AS family_id,
    CASE
      WHEN NOT w."time" IS NULL
      THEN w."time"
      WHEN r.converted_on > d.createddate AND r.converted_on > r.createddate
      THEN r.converted_on
      WHEN r.createddate > d.createddate
      THEN r.createddate
      ELSE d.createddate
    END AS converted_at
  FROM in_order AS r
  JOIN deals AS d
    ON d.id = r.opportunity_id
  LEFT JOIN families AS f
    ON f.id = COALESCE(r.convertedaccountid, d.accountid)
  LEFT JOIN witnessed AS w
    ON w.record_id = r.id
  WHERE
    r.place = 1
), prospects AS (
  SELECT
    c.id,
    c.accountid AS account_id,
    c.leadsource,
    c.createddate
  FROM (
    SELECT
      "id",
      "accountid",
      "leadsource",
      "createddate",
      "is_deleted"
    FROM salesforce.contact
  ) AS c
  WHERE
    LOWER(c.leadsource) ~ '(^|[^a-z0-9])(sdr|ae|outbound)([^a-z0-9]|$)'
  UNION
  SELECT
    c.id,
    CASE WHEN w.way = 1 THEN g.new_value ELSE g.old_value END AS account_id,
    c.leadsource,
    c.createddate
  FROM (
    SELECT
      "id",
      "accountid",
      "leadsource",
      "createddate",
      "is_deleted"
    FROM salesforce.contact
  ) AS c
  JOIN changes AS g
    ON g.record_id = c.id
  CROSS JOIN (
    SELECT
      1 AS way
    UNION ALL
    SELECT
      -1 AS way
  ) AS w
  WHERE
    LOWER(c.leadsource) ~ '(^|[^a-z0-9])(sdr|ae|outbound)([^a-z0-9]|$)'
    AND g.field = 'AccountId'
), candidates AS (
  SELECT DISTINCT
    p.id,
    p.leadsource,
    p.createddate,
    l.opportunity_id,
    l.family_id,
    l.converted_at
  FROM prospects AS p
  LEFT JOIN families AS f
    ON f.id = p.account_id
  JOIN converted AS l
    ON l.family_id = COALESCE(f.family_id, p.account_id)
  WHERE
    p.createddate <= l.createddate
    AND DATE_PART('epoch', l.createddate) - DATE_PART('epoch', p.createddate) <= 5184000
), turns AS (
  SELECT
    e.record_id,
    e."time" AS until,
    CASE WHEN e.name = 'Contact Restored' THEN 1 ELSE 0 END AS was_deleted,
    0 AS is_last
  FROM events AS e
  WHERE
    e.record_id IN (
      SELECT
        id
      FROM candidates
    )
    AND e.name IN ('Contact Deleted', 'Contact Merged', 'Contact Restored')
  UNION ALL
  SELECT
    c.id AS record_id,
    CAST(NULL AS TIMESTAMPTZ) AS until,
    CASE WHEN c.is_deleted THEN 1 ELSE 0 END AS was_deleted,
    1 AS is_last
  FROM (
    SELECT
      "id",
      "accountid",
      "leadsource",
      "createddate",
      "is_deleted"
    FROM salesforce.contact
  ) AS c
  WHERE
    c.id IN (
      SELECT
        id
      FROM candidates
    )
), lives AS (
  SELECT
    record_id,
    until,
    was_deleted,
    LAG(until) OVER (PARTITION BY record_id ORDER BY is_last, until) AS since
  FROM turns
), spoken_to AS (
  SELECT
    c.opportunity_id,
    c.id AS contact_id,
    c.leadsource,
    c.createddate,
    ROW_NUMBER() OVER (PARTITION BY c.opportunity_id ORDER BY c.createddate, c.id) AS place
  FROM candidates AS c
  JOIN lives AS l
    ON l.record_id = c.id
  JOIN (
    WITH raw AS (
      SELECT
        'Contact' AS object,
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
          "leadsource",
          "createddate",
          "is_deleted"
        FROM salesforce.contact
      ) AS r
      WHERE
        r.id IN (
          SELECT
            id
          FROM candidates
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
          FROM candidates
        ) AND c.field IN ('AccountId')
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
            FROM candidates
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
  ) AS b
    ON b.record_id = c.id
  LEFT JOIN families AS f
    ON f.id = b.value
  WHERE
    COALESCE(f.family_id, b.value) = c.family_id
    AND l.was_deleted = 0
    AND (
      l.since IS NULL OR l.since <= c.converted_at
    )
    AND (
      l.until IS NULL OR c.converted_at < l.until
    )
    AND (
      b.since IS NULL OR b.since <= c.converted_at
    )
    AND (
      b.until IS NULL OR c.converted_at < b.until
    )
), brought AS (
  SELECT
    l.opportunity_id,
    m.campaignid AS campaign_id,
    ROW_NUMBER() OVER (
      PARTITION BY l.opportunity_id
      ORDER BY CASE WHEN m.hasresponded THEN 0 ELSE 1 END, m.createddate, m.id
    ) AS place
  FROM converted AS l
  JOIN (
    SELECT
      "id",
      "campaignid",
      "contactid",
      "leadid",
      "createddate",
      "hasresponded",
      "firstrespondeddate",
      "is_deleted"
    FROM salesforce.campaignmember
  ) AS m
    ON m.leadid = l.id
  WHERE
    NOT m.is_deleted
), told AS (
  SELECT
    d.id AS opportunity_id,
    d.accountid AS account_id,
    CASE
      WHEN NOT s.contact_id IS NULL
      THEN s.leadsource
      WHEN NOT l.id IS NULL
      THEN l.leadsource
      ELSE d.leadsource
    END AS opportunity_source,
    CASE
      WHEN NOT s.contact_id IS NULL
      THEN 'outbound within 60 days'
      WHEN NOT l.id IS NULL
      THEN 'converted lead'
      ELSE 'manual'
    END AS source_rule,
    l.id AS lead_id,
    l.leadsource AS lead_source,
    d.leadsource AS own_lead_source,
    s.contact_id AS outbound_contact_id,
    s.createddate AS outbound_at,
    COALESCE(b.campaign_id, d.campaignid) AS primary_campaign_id,
    d.amount,
    d.createddate AS created_at,
    d.iswon AS is_won,
    d.isclosed AS is_closed
  FROM deals AS d
  LEFT JOIN converted AS l
    ON l.opportunity_id = d.id
  LEFT JOIN spoken_to AS s
    ON s.opportunity_id = d.id AND s.place = 1
  LEFT JOIN brought AS b
    ON b.opportunity_id = d.id AND b.place = 1
)
SELECT
  opportunity_id,
  account_id,
  opportunity_source,
  CASE
    WHEN LOWER(opportunity_source) ~ '(^|[^a-z0-9])(sdr|ae|outbound)([^a-z0-9]|$)'
    THEN 'outbound'
    WHEN LOWER(opportunity_source) ~ '(^|[^a-z0-9])(inbound|contact|demo|trial|sign\-up|signup|sign\ up|set\-up|setup|install|web|website|hubspot)([^a-z0-9]|$)'
    THEN 'inbound'
    WHEN NOT opportunity_source IS NULL
    THEN 'other'
  END AS source_origin,
  source_rule,
  lead_id,
  lead_source,
  own_lead_source,
  outbound_contact_id,
  outbound_at,
  primary_campaign_id,
  amount,
  created_at,
  is_won,
  is_closed
FROM told
