SELECT
  a.id AS account_id,
  a.industry,
  a.numberofemployees AS employees
FROM (
  SELECT
    "id",
    CAST(NULL AS TEXT) AS "industry",
    CAST(NULL AS BIGINT) AS "numberofemployees",
    "is_deleted"
  FROM salesforce.account
) AS a
WHERE
  NOT a.id IS NULL AND NOT a.is_deleted
