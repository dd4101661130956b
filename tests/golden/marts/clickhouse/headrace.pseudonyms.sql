SELECT
  a.id AS account_id,
  a.industry AS "industry",
  a.numberofemployees AS employees
FROM (
  SELECT
    "id",
    CAST(NULL AS Nullable(String)) AS "industry",
    CAST(NULL AS Nullable(Int64)) AS "numberofemployees",
    "is_deleted"
  FROM salesforce.account AS "account"
) AS a
WHERE
  NOT (
    a.id IS NULL
  ) AND NOT a.is_deleted
