"""Which keys of a mart stale keys reach, as SELECTs of `key`: each `?` takes all stale keys of a kind.

What a record made before it was changed is told by the mart's own rows, or by `changes`.
"""

from typing import Final

_OF_PEOPLE: Final = """
    SELECT r.opportunityid AS key
    FROM {{salesforce.opportunitycontactrole}} AS r
    JOIN identities AS i ON i.alias = r.contactid
    WHERE {people}
    UNION
    SELECT o.id AS key
    FROM {{salesforce.opportunity}} AS o
    JOIN headrace.memberships AS m ON m.target_id = o.accountid
    JOIN identities AS i ON i.alias = m.alias
    WHERE {people}"""
"""The opportunities of people: in which they have a role, and of the accounts to which they have ever belonged."""
OF_USERS: Final = _OF_PEOPLE.format(people="i.user_id = any(?)")
OF_RECORDS: Final = _OF_PEOPLE.format(
    people="i.user_id IN (SELECT a.user_id FROM identities AS a WHERE a.alias = any(?))"
)
OF_ROLES: Final = "SELECT r.opportunityid AS key FROM {salesforce.opportunitycontactrole} AS r WHERE r.id = any(?)"
OF_MEMBERS: Final = """
    SELECT r.opportunityid AS key
    FROM {salesforce.campaignmember} AS m
    JOIN {salesforce.opportunitycontactrole} AS r ON r.contactid = m.contactid
    WHERE m.id = any(?)
    UNION
    SELECT r.opportunityid AS key
    FROM {salesforce.campaignmember} AS m
    JOIN {salesforce.lead} AS l ON l.id = m.leadid
    JOIN {salesforce.opportunitycontactrole} AS r ON r.contactid = l.convertedcontactid
    WHERE m.id = any(?)
    UNION
    SELECT c.opportunity_id AS key FROM campaign_influence AS c WHERE c.member_id = any(?)"""
OF_CONVERTED: Final = """
    SELECT r.opportunityid AS key
    FROM {salesforce.lead} AS l
    JOIN {salesforce.opportunitycontactrole} AS r ON r.contactid = l.convertedcontactid
    WHERE l.id = any(?)
    UNION
    SELECT c.opportunity_id AS key
    FROM {salesforce.campaignmember} AS m
    JOIN campaign_influence AS c ON c.member_id = m.id
    WHERE m.leadid = any(?)"""
OF_SOURCES: Final = """
    SELECT l.convertedopportunityid AS key FROM {salesforce.lead} AS l WHERE l.id = any(?)
    UNION
    SELECT s.opportunity_id AS key FROM opportunity_source AS s WHERE s.lead_id = any(?)"""
_OF_BELONGED: Final = """
    SELECT o.id AS key
    FROM {salesforce.opportunity} AS o
    LEFT JOIN {salesforce.lead} AS l ON l.convertedopportunityid = o.id
    LEFT JOIN {salesforce.account} AS a ON a.id = coalesce(l.convertedaccountid, o.accountid)
    WHERE coalesce(a.masterrecordid, l.convertedaccountid, o.accountid) IN (
        SELECT coalesce(b.masterrecordid, w.account_id) AS account_id
        FROM belonged AS w
        LEFT JOIN {salesforce.account} AS b ON b.id = w.account_id
    )"""
OF_ACCOUNTS: Final = """
    WITH belonged AS (
        SELECT m.target_id AS account_id FROM headrace.memberships AS m WHERE m.alias = any(?)
        UNION
        SELECT c.old_value AS account_id FROM changes AS c WHERE c.record_id = any(?) AND c.field = 'AccountId'
        UNION
        SELECT c.new_value AS account_id FROM changes AS c WHERE c.record_id = any(?) AND c.field = 'AccountId'
    )
    {of_belonged}
    UNION
    SELECT s.opportunity_id AS key FROM opportunity_source AS s WHERE s.outbound_contact_id = any(?)""".replace(
    "{of_belonged}", _OF_BELONGED
)
"""The opportunities of the accounts to which contacts have ever belonged."""
OF_MERGED: Final = """
    WITH back AS (
        SELECT e.record_id FROM events AS e WHERE e.record_id = any(?) AND e.name = 'Account Restored'
    ),
    belonged AS (
        SELECT a.id AS account_id
        FROM {salesforce.account} AS a
        WHERE a.id = any(?) AND a.masterrecordid IS NOT NULL
        UNION
        SELECT record_id FROM back
    )
    {of_belonged}
    UNION
    SELECT s.opportunity_id AS key
    FROM back AS r
    JOIN changes AS c ON c.old_value = r.record_id
    JOIN opportunity_source AS s ON s.outbound_contact_id = c.record_id
    WHERE c.field = 'AccountId'
    UNION
    SELECT s.opportunity_id AS key
    FROM back AS r
    JOIN headrace.memberships AS m ON m.target_id = r.record_id
    JOIN opportunity_source AS s ON s.outbound_contact_id = m.alias""".replace("{of_belonged}", _OF_BELONGED)
"""The opportunities of accounts that were merged into others, and of those that are back from there."""
OF_LEADS_MEMBERS: Final = """
    SELECT l.convertedopportunityid AS key
    FROM {salesforce.campaignmember} AS m
    JOIN {salesforce.lead} AS l ON l.id = m.leadid
    WHERE m.id = any(?)"""
OF_RESPONDED: Final = """
    SELECT i.user_id AS key
    FROM {salesforce.campaignmember} AS m
    JOIN identities AS i ON i.alias = coalesce(m.contactid, m.leadid)
    WHERE m.id = any(?)
    UNION
    SELECT t.user_id AS key FROM touchpoints AS t WHERE t.touchpoint_id = any(?)"""
_OF_ACTIVITIES: Final = """
    SELECT i.user_id AS key
    FROM {{salesforce.{table}}} AS t
    JOIN identities AS i ON i.alias = t.whoid
    WHERE t.id = any(?)
    UNION
    SELECT t.user_id AS key FROM touchpoints AS t WHERE t.touchpoint_id = any(?)"""
OF_TASKS: Final = _OF_ACTIVITIES.format(table="task")
OF_EVENTS: Final = _OF_ACTIVITIES.format(table="event")
OF_SAME_COMPANY: Final = """
    SELECT l.id AS key
    FROM {salesforce.lead} AS l
    WHERE {mail:l.email} IN (
        SELECT {site:a.website} AS sign FROM {salesforce.account} AS a WHERE a.id = any(?)
        UNION
        SELECT {mail:c.email} AS sign FROM {salesforce.contact} AS c WHERE c.accountid = any(?)
        UNION
        SELECT {site:g.old_value} AS sign FROM changes AS g WHERE g.record_id = any(?) AND g.field = 'Website'
    )
    UNION
    SELECT l.id AS key
    FROM {salesforce.lead} AS l
    WHERE {company:l.company} IN (
        SELECT {company:a.name} AS sign FROM {salesforce.account} AS a WHERE a.id = any(?)
        UNION
        SELECT {company:g.old_value} AS sign FROM changes AS g WHERE g.record_id = any(?) AND g.field = 'Name'
    )
    UNION
    SELECT g.lead_id AS key FROM headrace.lead_accounts AS g WHERE g.account_id = any(?)"""
"""The leads for whom accounts are, or were, of the same company."""
OF_SAME_MAIL: Final = """
    SELECT l.id AS key
    FROM {salesforce.lead} AS l
    WHERE {mail:l.email} IN (
        SELECT {mail:c.email} AS sign FROM {salesforce.contact} AS c WHERE c.id = any(?)
        UNION
        SELECT {mail:g.old_value} AS sign FROM changes AS g WHERE g.record_id = any(?) AND g.field = 'Email'
    )
    UNION
    SELECT g.lead_id AS key
    FROM headrace.memberships AS m
    JOIN headrace.lead_accounts AS g ON g.account_id = m.target_id
    WHERE m.alias = any(?)"""
OF_ALIASES: Final = "SELECT i.user_id AS key FROM identities AS i WHERE i.alias = any(?)"
