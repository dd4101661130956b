-- The accounts that get a pseudonym (integration.store.pseudonyms), and what may stand beside it.
SELECT a.id AS account_id, a.industry, a.numberofemployees AS employees
FROM (SELECT "id", CAST(NULL AS VARCHAR) AS "industry", CAST(NULL AS BIGINT) AS "numberofemployees", "is_deleted" FROM salesforce.account) AS a
WHERE a.id IS NOT NULL AND NOT a.is_deleted
