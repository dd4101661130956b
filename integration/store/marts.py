"""The marts: tables that are worked out from other tables, and kept up to date by key.

A mart is one SELECT (`integration/marts/<name>.sql`, in DuckDB's dialect; markers: see integration.store.markers).
Its rows of one key (a person, say) come from the rows of that key alone, so whoever knows which keys have changed need
not work out the others again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final

from integration.core.columns import Column, ColumnType
from integration.store import tables
from integration.store.markers import Reads, rendered
from integration.store.projection import Shape

PERSON: Final = "person"
"""The kind of stale keys that are ids of users whose product events are others than they were. All other kinds are
names of objects, and their keys ids of records."""
SAME: Final = ""
"""Whose stale keys are keys of the mart as they are."""


@dataclass(frozen=True, slots=True)
class Mart:
    """A table to be worked out: the rows it has, and what makes some of them stale."""

    name: str
    key: str
    """The column by whose values it is kept up to date."""
    stale: Mapping[str, str]
    """Kind of stale keys -> SAME, or the SELECT of this mart's keys (as `key`) that they reach; each `?` takes all of
    them."""
    reads: Reads = field(default_factory=dict)
    """Object -> the raw columns that it is worked out from."""
    begins_with: Sequence[str] = ()
    """The kinds of which all keys together reach every row; the first of `stale` where none is named."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of its table."""
        return tables.FIXED[self.name]

    @property
    def whole(self) -> Sequence[str]:
        """The kinds of which all keys are to be noted as stale where the mart is to be made anew."""
        return self.begins_with or (next(iter(self.stale)),)

    def everything(self, shape: Shape) -> str:
        """Return the SELECT of all its rows."""
        return rendered(self._sql, self.reads, shape.columns)

    def some(self, shape: Shape) -> tuple[str, int]:
        """Return the SELECT of the rows of some keys, and how many times it takes the list of these as parameter."""
        sql = rendered(self._sql, self.reads, shape.columns, "{column} = any(?)")
        return sql, sql.count("= any(?)")

    def reached(self, kind: str, shape: Shape) -> str:
        """Return SAME, or the SELECT of the keys that stale keys of a kind reach."""
        return rendered(self.stale[kind], self.reads, shape.columns)

    def fingerprint(self, shape: Shape) -> str:
        """Return what is another when the mart is worked out in another way, or from other columns."""
        told = f"{self.everything(shape)} {[(c.name, c.type) for c in self.columns]}"
        return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()

    @property
    def _sql(self) -> str:
        return files("integration").joinpath("marts", f"{self.name}.sql").read_text("utf-8")


_ALL_PEOPLE: Final = {PERSON: SAME}
_BY_RECORD: Final = {"Opportunity": SAME}


def _texts(*names: str) -> Sequence[Column]:
    return [Column(name, ColumnType.TEXT) for name in names]


_CREATED: Final = Column("createddate", ColumnType.TIMESTAMP)
_DELETED: Final = Column("is_deleted", ColumnType.BOOLEAN)

_DEAL: Final = [
    *_texts("id", "accountid", "leadsource", "campaignid"),
    Column("amount", ColumnType.DECIMAL),
    _CREATED,
    _DELETED,
    Column("iswon", ColumnType.BOOLEAN),
    Column("isclosed", ColumnType.BOOLEAN),
]
_ROLE: Final = [*_texts("id", "opportunityid", "contactid"), _DELETED]
_MEMBER: Final = [
    *_texts("id", "campaignid", "contactid", "leadid"),
    _CREATED,
    Column("hasresponded", ColumnType.BOOLEAN),
    Column("firstrespondeddate", ColumnType.DATE),
    _DELETED,
]
_LEAD: Final = [
    *_texts("id", "leadsource", "convertedaccountid", "convertedcontactid", "convertedopportunityid"),
    Column("converteddate", ColumnType.DATE),
    Column("isconverted", ColumnType.BOOLEAN),
    _CREATED,
]
_CONTACT: Final = [*_texts("id", "accountid", "leadsource"), _CREATED, _DELETED]

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
_OF_USERS: Final = _OF_PEOPLE.format(people="i.user_id = any(?)")
_OF_RECORDS: Final = _OF_PEOPLE.format(
    people="i.user_id IN (SELECT a.user_id FROM identities AS a WHERE a.alias = any(?))"
)
_OF_ROLES: Final = "SELECT r.opportunityid AS key FROM {salesforce.opportunitycontactrole} AS r WHERE r.id = any(?)"
_OF_MEMBERS: Final = """
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
"""The last lines of this and others tell whose rows a record made before it was changed."""
_OF_CONVERTED: Final = """
    SELECT r.opportunityid AS key
    FROM {salesforce.lead} AS l
    JOIN {salesforce.opportunitycontactrole} AS r ON r.contactid = l.convertedcontactid
    WHERE l.id = any(?)
    UNION
    SELECT c.opportunity_id AS key
    FROM {salesforce.campaignmember} AS m
    JOIN campaign_influence AS c ON c.member_id = m.id
    WHERE m.leadid = any(?)"""
_OF_SOURCES: Final = """
    SELECT l.convertedopportunityid AS key FROM {salesforce.lead} AS l WHERE l.id = any(?)
    UNION
    SELECT s.opportunity_id AS key FROM opportunity_source AS s WHERE s.lead_id = any(?)"""
_OF_ACCOUNTS: Final = """
    SELECT o.id AS key
    FROM {salesforce.opportunity} AS o
    JOIN headrace.memberships AS m ON m.target_id = o.accountid
    WHERE m.alias = any(?)"""
_OF_LEADS_MEMBERS: Final = """
    SELECT l.convertedopportunityid AS key
    FROM {salesforce.campaignmember} AS m
    JOIN {salesforce.lead} AS l ON l.id = m.leadid
    WHERE m.id = any(?)"""
_OF_RESPONDED: Final = """
    SELECT i.user_id AS key
    FROM {salesforce.campaignmember} AS m
    JOIN identities AS i ON i.alias = coalesce(m.contactid, m.leadid)
    WHERE m.id = any(?)
    UNION
    SELECT t.user_id AS key FROM touchpoints AS t WHERE t.touchpoint_id = any(?)"""
_OF_ALIASES: Final = "SELECT i.user_id AS key FROM identities AS i WHERE i.alias = any(?)"

MARTS: Sequence[Mart] = (
    Mart("sessions", "user_id", _ALL_PEOPLE),
    Mart("touches", "user_id", _ALL_PEOPLE),
    Mart("daily_activity", "user_id", _ALL_PEOPLE),
    Mart(
        "opportunity_stage_history",
        "opportunity_id",
        _BY_RECORD,
        reads={"Opportunity": [*_texts("id", "stagename"), _CREATED]},
    ),
    Mart(
        "attribution",
        "opportunity_id",
        {
            "Opportunity": SAME,
            "OpportunityContactRole": _OF_ROLES,
            "Contact": _OF_RECORDS,
            "Lead": _OF_RECORDS,
            PERSON: _OF_USERS,
        },
        reads={"Opportunity": _DEAL, "OpportunityContactRole": _ROLE},
    ),
    Mart(
        "campaign_influence",
        "opportunity_id",
        {
            "Opportunity": SAME,
            "OpportunityContactRole": _OF_ROLES,
            "CampaignMember": _OF_MEMBERS,
            "Lead": _OF_CONVERTED,
        },
        reads={"Opportunity": _DEAL, "OpportunityContactRole": _ROLE, "CampaignMember": _MEMBER, "Lead": _LEAD},
    ),
    Mart(
        "opportunity_source",
        "opportunity_id",
        {
            "Opportunity": SAME,
            "Lead": _OF_SOURCES,
            "Contact": _OF_ACCOUNTS,
            "CampaignMember": _OF_LEADS_MEMBERS,
        },
        reads={"Opportunity": _DEAL, "Lead": _LEAD, "Contact": _CONTACT, "CampaignMember": _MEMBER},
    ),
    Mart(
        "touchpoints",
        "user_id",
        {PERSON: SAME, "CampaignMember": _OF_RESPONDED, "Contact": _OF_ALIASES, "Lead": _OF_ALIASES},
        reads={"CampaignMember": _MEMBER},
        begins_with=(PERSON, "CampaignMember"),
    ),
)
"""All marts, each behind those that it is worked out from."""


KINDS: Final = frozenset(kind for mart in MARTS for kind in mart.stale)
"""What stale keys can be of."""
