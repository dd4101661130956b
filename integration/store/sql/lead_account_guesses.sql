-- To which accounts a lead that is not converted may belong, with who the lead is. No other table believes it.
SELECT g.lead_id, i.user_id, g.place, g.account_id, g.how, g.confidence, g.candidates
FROM headrace.lead_accounts AS g
LEFT JOIN identities AS i ON i.alias = g.lead_id
