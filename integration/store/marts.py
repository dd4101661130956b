"""The marts: tables that are worked out from other tables, and kept up to date by key.

A mart is one SELECT (`integration/marts/<name>.sql`, in DuckDB's dialect; markers: see integration.store.markers).
Its rows of one key (a person, say) come from the rows of that key alone, so whoever knows which keys have changed need
not work out the others again.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import takewhile
from typing import Final

from integration.core.columns import Column, ColumnType
from integration.store import reached, tables
from integration.store.attribution import Attribution
from integration.store.markers import DEFAULT, Reads, rendered
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
    has_pseudonyms: bool = False
    """Whether its SELECT gives accounts, which Pseudonyms.rows turns into its rows."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of its table."""
        return tables.FIXED[self.name]

    @property
    def own_kinds(self) -> frozenset[str]:
        """The kinds of stale keys that are keys of this mart."""
        return frozenset(kind for kind, reached in self.stale.items() if reached == SAME)

    @property
    def sentence(self) -> str:
        """What its rows tell."""
        comment = " ".join(line.removeprefix("-- ") for line in takewhile(_is_comment, _sql(self.name).splitlines()))
        return re.split(r"(?<=\.) (?=[A-Z])", comment, maxsplit=1)[0]

    @property
    def whole(self) -> Sequence[str]:
        """The kinds of which all keys are to be noted as stale where the mart is to be made anew."""
        return self.begins_with or (next(iter(self.stale)),)

    def everything(self, shape: Shape, rules: Attribution = DEFAULT) -> str:
        """Return the SELECT of all its rows."""
        return rendered(_sql(self.name), self.reads, shape.columns, rules=rules)

    def some(self, shape: Shape, rules: Attribution = DEFAULT) -> tuple[str, int]:
        """Return the SELECT of the rows of some keys, and how many times it takes the list of these as parameter."""
        sql = rendered(_sql(self.name), self.reads, shape.columns, "{column} = any(?)", rules)
        return sql, sql.count("= any(?)")

    def reached(self, kind: str, shape: Shape, rules: Attribution = DEFAULT) -> str:
        """Return the SELECT of the keys that stale keys of a kind reach (none of `own_kinds`)."""
        return rendered(self.stale[kind], self.reads, shape.columns, rules=rules)

    def fingerprint(self, shape: Shape, rules: Attribution = DEFAULT) -> str:
        """Return what is another when the mart is worked out in another way, or from other columns."""
        told = f"{self.everything(shape, rules)} {[(c.name, c.type) for c in self.columns]}"
        return hashlib.blake2b(told.encode(), digest_size=12).hexdigest()


def _is_comment(line: str) -> bool:
    return line.startswith("-- ")


@cache
def _sql(name: str) -> str:
    return files("integration").joinpath("marts", f"{name}.sql").read_text("utf-8")


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
_ACCOUNT: Final = _texts("id", "masterrecordid")
_SPAN: Final = [
    *_texts("id", "accountid", "ownerid", "stagename"),
    Column("amount", ColumnType.DECIMAL),
    Column("closedate", ColumnType.DATE),
    _CREATED,
    _DELETED,
    Column("isclosed", ColumnType.BOOLEAN),
    Column("iswon", ColumnType.BOOLEAN),
]
_ACTIVITY: Final = [*_texts("id", "whoid"), Column("activitydate", ColumnType.DATE), _CREATED, _DELETED]
_TASK: Final = [
    *_ACTIVITY,
    *_texts("type", "tasksubtype", "subject"),
    Column("completeddatetime", ColumnType.TIMESTAMP),
    Column("isclosed", ColumnType.BOOLEAN),
]
_EVENT: Final = [
    *_ACTIVITY,
    Column("startdatetime", ColumnType.TIMESTAMP),
    Column("activitydatetime", ColumnType.TIMESTAMP),
]

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
    Mart("opportunity_spans", "opportunity_id", _BY_RECORD, reads={"Opportunity": _SPAN}),
    Mart(
        "attribution",
        "opportunity_id",
        {
            "Opportunity": SAME,
            "OpportunityContactRole": reached.OF_ROLES,
            "Contact": reached.OF_RECORDS,
            "Lead": reached.OF_RECORDS,
            PERSON: reached.OF_USERS,
        },
        reads={"Opportunity": _DEAL, "OpportunityContactRole": _ROLE},
    ),
    Mart(
        "campaign_influence",
        "opportunity_id",
        {
            "Opportunity": SAME,
            "OpportunityContactRole": reached.OF_ROLES,
            "CampaignMember": reached.OF_MEMBERS,
            "Lead": reached.OF_CONVERTED,
        },
        reads={"Opportunity": _DEAL, "OpportunityContactRole": _ROLE, "CampaignMember": _MEMBER, "Lead": _LEAD},
    ),
    Mart(
        "opportunity_source",
        "opportunity_id",
        {
            "Opportunity": SAME,
            "Lead": reached.OF_SOURCES,
            "Contact": reached.OF_ACCOUNTS,
            "Account": reached.OF_MERGED,
            "CampaignMember": reached.OF_LEADS_MEMBERS,
        },
        reads={
            "Opportunity": _DEAL,
            "Lead": _LEAD,
            "Contact": _CONTACT,
            "Account": _ACCOUNT,
            "CampaignMember": _MEMBER,
        },
    ),
    Mart(
        "touchpoints",
        "user_id",
        {
            PERSON: SAME,
            "CampaignMember": reached.OF_RESPONDED,
            "Task": reached.OF_TASKS,
            "Event": reached.OF_EVENTS,
            "Contact": reached.OF_ALIASES,
            "Lead": reached.OF_ALIASES,
        },
        reads={"CampaignMember": _MEMBER, "Task": _TASK, "Event": _EVENT},
        begins_with=(PERSON, "CampaignMember", "Task", "Event"),
    ),
    Mart(
        "headrace.lead_accounts",
        "lead_id",
        {"Lead": SAME, "Account": reached.OF_SAME_COMPANY, "Contact": reached.OF_SAME_MAIL},
        reads={
            "Lead": [*_texts("id", "email", "company"), Column("isconverted", ColumnType.BOOLEAN), _DELETED],
            "Account": [*_texts("id", "name", "website"), _DELETED],
            "Contact": [*_texts("id", "accountid", "email"), _DELETED],
        },
    ),
    Mart(
        "headrace.pseudonyms",
        "account_id",
        {"Account": SAME},
        reads={"Account": [*_texts("id", "industry"), Column("numberofemployees", ColumnType.INTEGER), _DELETED]},
        has_pseudonyms=True,
    ),
)
"""All marts, each behind those that it is worked out from."""


SHOWN: Final = tuple(mart for mart in MARTS if "." not in mart.name)
"""Those that are tables for people; views show the others, or parts of them."""
KINDS: Final = frozenset(kind for mart in MARTS for kind in mart.stale)
"""What stale keys can be of."""


_TELLING: Final = ("email", "accountid")
"""Fields that say who a record is of, and to which account a person belongs."""


def _looked_at() -> dict[str, frozenset[str]]:
    fields: dict[str, set[str]] = {name: {*_TELLING} for name in ("Contact", "Lead")}
    for mart in MARTS:
        for name, columns in mart.reads.items():
            fields.setdefault(name, set()).update(column.name for column in columns)
    return {name: frozenset(those) for name, those in fields.items()}


FIELDS: Final[Mapping[str, frozenset[str]]] = _looked_at()
"""Object -> its fields, in small letters, by which any mart may become another."""


def full_shape() -> Shape:
    """Return the shape of an org that has every raw column that a mart looks for."""
    columns: dict[str, set[str]] = {}
    for mart in SHOWN:
        for name, looked_for in mart.reads.items():
            columns.setdefault(name, set()).update(column.name for column in looked_for)
    return Shape({name: frozenset(names) for name, names in columns.items()})
