-- Accounts for public places: nothing here names them. Empty while no key is set.
SELECT pseudonym, industry, size FROM headrace.pseudonyms
