"""What headrace should say, worked out naively from the sandbox org's own data.

Nothing of headrace is imported here. `Watcher.observe` looks at the org as a poll at this moment would, and keeps
the events that must come of it; `people` and `accounts` are the rows that must stand in the store then.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Fields = dict[str, Any]

WATCHED = (
    "User", "Account", "Contact", "Lead", "Opportunity", "OpportunityContactRole", "Campaign", "CampaignMember",
    "Task", "Event",
)  # fmt: skip
SILENT = {
    "SystemModstamp", "LastModifiedDate", "LastModifiedById", "LastViewedDate", "LastReferencedDate",
    "IsDeleted", "MasterRecordId",
}  # fmt: skip
WORDS = {"OpportunityContactRole": "Opportunity Contact Role", "CampaignMember": "Campaign Member"}
MAX_CLUSTER = 25


@dataclass
class Watcher:
    """Remembers what polls have seen of an org."""

    ignored: dict[str, set[str]] = field(default_factory=dict)
    """Fields per object that may change without a stamp (formulas over other records)."""
    known: dict[tuple[str, str], Fields] = field(default_factory=dict)
    events: list[tuple[str, str, str, tuple[tuple[str, Any, Any, str], ...]]] = field(default_factory=list)
    """(object, record id, name, ((field, old, new, type), ...)) of every event that must be in the store."""

    def observe(self, org: Any) -> None:
        """Look at everything that is visible now."""
        for name in WATCHED:
            if name not in org.objects:
                continue  # hidden from everybody, us included
            shown = {r["Id"]: dict(r) for r in org.records(name, include_deleted=True)}
            kinds = {f.name: f.type for f in org.objects[name].fields}
            for record_id, after in shown.items():
                self._see(name, record_id, after, kinds)
            for (object_name, record_id), before in list(self.known.items()):
                if object_name == name and record_id not in shown and not before.get("IsDeleted"):
                    self.known[(name, record_id)] = {**before, "IsDeleted": True}
                    self.events.append((name, record_id, f"{WORDS.get(name, name)} Deleted", ()))

    def _see(self, name: str, record_id: str, after: Fields, kinds: dict[str, str]) -> None:
        before = self.known.get((name, record_id))
        if before is not None and before.keys() - after.keys():
            after = {**before, **after}  # what is not shown any more is not known to have changed
        self.known[(name, record_id)] = after
        if before == after:
            return
        silent = SILENT | self.ignored.get(name, set())
        changed = []
        if before is not None:
            fields = sorted(f for f, v in after.items() if f not in silent and _differ(before.get(f), v))
            changed = [(f, before.get(f), after[f], kinds[f]) for f in fields]
        event = _name(name, before, after, {f for f, *_ in changed})
        if event is not None:
            lively = event.split()[-1] in ("Created", "Deleted", "Restored", "Merged")
            self.events.append((name, record_id, event, () if lively else tuple(changed)))

    def live(self, name: str) -> dict[str, Fields]:
        """Return the live records of an object by id."""
        return {i: f for (n, i), f in self.known.items() if n == name and not f.get("IsDeleted")}

    def all(self, name: str) -> dict[str, Fields]:
        """Return every record ever seen of an object by id."""
        return {i: f for (n, i), f in self.known.items() if n == name}

    def people(self) -> dict[str, Fields]:
        """Return user_id -> what the row of `users` must say: its own columns, and `contact`, `lead`, ... records."""
        contacts, leads = self.all("Contact"), self.all("Lead")
        groups: dict[str, list[tuple[str, str]]] = {}
        sharing: dict[str, int] = {}
        for record in (*contacts.values(), *leads.values()):
            if _alive(record) and _email(record):
                sharing[_email(record)] = sharing.get(_email(record), 0) + 1
        for kind, records in (("Contact", contacts), ("Lead", leads)):
            for record_id in records:
                end_kind, end = _end(kind, record_id, contacts, leads)
                last = (contacts if end_kind == "Contact" else leads)[end]
                joined = _alive(last) and _email(last) and sharing[_email(last)] <= MAX_CLUSTER
                groups.setdefault(_email(last) if joined else end, []).append((kind, record_id))
        rows = [self._person(group, contacts, leads) for group in groups.values()]
        return {row["user_id"]: row for row in rows}

    def _person(self, group: list[tuple[str, str]], contacts: dict[str, Fields], leads: dict[str, Fields]) -> Fields:
        mine = [contacts[i] for k, i in group if k == "Contact"]
        my_leads = [leads[i] for k, i in group if k == "Lead"]
        live_contacts, live_leads = [r for r in mine if _alive(r)], [r for r in my_leads if _alive(r)]
        owner = _earliest(live_contacts or live_leads or mine or my_leads)
        contact = _earliest(live_contacts or mine)
        unconverted = [r for r in my_leads if not r.get("IsConverted")]
        undeleted = [r for r in my_leads if not r["IsDeleted"]]
        lead = _earliest(live_leads or undeleted or unconverted or my_leads)
        account_id = contact.get("AccountId") if contact else lead.get("ConvertedAccountId") if lead else None
        chosen, candidates = self._deals({r["Id"] for r in mine}, account_id)
        assert owner is not None
        return {
            "user_id": owner["Id"],
            "is_deleted": not (live_contacts or live_leads),
            "contact_id": contact and contact["Id"],
            "lead_id": lead and lead["Id"],
            "account_id": account_id,
            "owner_id": owner.get("OwnerId"),
            "first_seen": min(r["CreatedDate"] for r in (*mine, *my_leads)),
            "email_key": _email(owner),
            "contact": contact,
            "lead": lead,
            "account": self.all("Account").get(account_id or ""),
            "opportunity": chosen,
            **_sums(candidates),
        }

    def _deals(self, contact_ids: set[str], account_id: str | None) -> tuple[Fields | None, list[Fields]]:
        deals = self.live("Opportunity")
        roles = [r for r in self.live("OpportunityContactRole").values() if r["ContactId"] in contact_ids]
        mine = {r["OpportunityId"] for r in roles if r["OpportunityId"] in deals}
        primary = {r["OpportunityId"] for r in roles if r.get("IsPrimary")} if mine else set()
        candidates = [
            d for i, d in deals.items() if (i in mine if mine else account_id and d["AccountId"] == account_id)
        ]
        for group in ([d for d in candidates if not d["IsClosed"]], [d for d in candidates if d["IsClosed"]]):
            first = [d for d in group if d["Id"] in primary] or group
            if first:
                dates = [d["CloseDate"] for d in first]
                date = max(dates) if first[0]["IsClosed"] else min(dates)
                return min((d for d in first if d["CloseDate"] == date), key=lambda d: d["Id"]), candidates
        return None, candidates

    def accounts(self) -> dict[str, Fields]:
        """Return account_id -> what the row of `accounts` must say beside its properties."""
        users = self.people().values()
        acts = [*self.live("Task").values(), *self.live("Event").values()]
        rows = {}
        for account_id, record in self.all("Account").items():
            deals = [d for d in self.live("Opportunity").values() if d["AccountId"] == account_id]
            rows[account_id] = {
                "account": record,
                "is_deleted": record["IsDeleted"],
                "owner_id": record.get("OwnerId"),
                "people_count": sum(u["account_id"] == account_id and not u["is_deleted"] for u in users),
                "activity_count": sum((a.get("AccountId") or a.get("WhatId")) == account_id for a in acts),
                **_sums(deals),
            }
        return rows


def _differ(old: Any, new: Any) -> bool:
    """Tell whether a value is another one; in a field that was retyped the same text or number is not."""
    if isinstance(old, str) != isinstance(new, str) and old is not None and new is not None:
        try:
            return Decimal(str(old)) != Decimal(str(new))
        except ArithmeticError:
            return str(old).lower() != str(new).lower()
    return bool(old != new)


def _name(name: str, before: Fields | None, after: Fields, changed: set[str]) -> str | None:
    words = WORDS.get(name, name)
    if before is None:
        return f"{words} Created"
    if after.get("IsDeleted"):
        if name in ("Account", "Contact", "Lead") and after.get("MasterRecordId") and not before.get("MasterRecordId"):
            return f"{words} Merged"
        if not before.get("IsDeleted"):
            return f"{words} Deleted"
    elif before.get("IsDeleted"):
        return f"{words} Restored"
    if not changed:
        return None
    rules = [
        ("Lead Converted", name == "Lead" and "IsConverted" in changed and after["IsConverted"]),
        ("Opportunity Won", name == "Opportunity" and "IsWon" in changed and after["IsWon"]),
        (
            "Opportunity Lost",
            name == "Opportunity" and after["IsClosed"] and not after["IsWon"] and changed & {"IsClosed", "IsWon"},
        ),
        ("Opportunity Stage Changed", name == "Opportunity" and "StageName" in changed),
        ("Account Changed", name == "Contact" and "AccountId" in changed),
        ("Email Changed", name in ("Contact", "Lead") and "Email" in changed),
        ("Owner Changed", "OwnerId" in changed),
        ("Task Completed", name == "Task" and "IsClosed" in changed and after["IsClosed"]),
        ("Campaign Responded", name == "CampaignMember" and "HasResponded" in changed and after["HasResponded"]),
    ]
    return next((event for event, applies in rules if applies), f"{words} Updated")


def _end(kind: str, record_id: str, contacts: dict[str, Fields], leads: dict[str, Fields]) -> tuple[str, str]:
    """Follow merges and conversions to the record in which they end."""
    for _ in range(100):
        record = (contacts if kind == "Contact" else leads)[record_id]
        if record["IsDeleted"] and record.get("MasterRecordId") in (contacts if kind == "Contact" else leads):
            record_id = record["MasterRecordId"]
        elif kind == "Lead" and record.get("IsConverted") and record.get("ConvertedContactId") in contacts:
            kind, record_id = "Contact", record["ConvertedContactId"]
        else:
            break
    return kind, record_id


def _alive(record: Fields) -> bool:
    return not record["IsDeleted"] and not record.get("IsConverted")


def _email(record: Fields) -> str:
    return str(record.get("Email") or "").strip().lower()


def _earliest(records: list[Fields]) -> Fields | None:
    return min(records, key=lambda r: (r["CreatedDate"], r["Id"]), default=None)


def _sums(deals: list[Fields]) -> Fields:
    opened, won = [d for d in deals if not d["IsClosed"]], [d for d in deals if d["IsWon"]]
    return {
        "sfdc_opportunity_count": len(deals),
        "sfdc_opportunity_open_count": len(opened),
        "sfdc_opportunity_open_amount": sum((Decimal(str(d["Amount"] or 0)) for d in opened), Decimal(0)),
        "sfdc_opportunity_won_count": len(won),
        "sfdc_opportunity_won_amount": sum((Decimal(str(d["Amount"] or 0)) for d in won), Decimal(0)),
    }
