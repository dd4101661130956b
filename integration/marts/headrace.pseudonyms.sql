-- The accounts that get a pseudonym (integration.store.pseudonyms), and what may stand beside it.
SELECT a.id AS account_id, a.industry, a.numberofemployees AS employees
FROM {salesforce.account} AS a
WHERE {among:a.id} AND NOT a.is_deleted
