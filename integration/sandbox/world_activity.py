"""The busy chapters: campaigns, calls, meetings, and what the field history remembers."""

from datetime import datetime, timedelta
from itertools import pairwise

from integration.sandbox import names
from integration.sandbox.clock import from_stamp, stamp
from integration.sandbox.hooks import STAGES
from integration.sandbox.story import Row, Story
from integration.sandbox.world_deals import OPEN_STAGES

_TYPES = ("Webinar", "Email", "Conference", "Advertisement", "Referral Program")


def campaign(story: Story, accounts: int) -> None:
    """Add campaigns and their members: contacts and unconverted leads, some of whom responded."""
    made = [_campaign(story, number) for number in range(min(40, 8 + accounts // 250))]
    for kind, field, share in (("Contact", "ContactId", 0.35), ("Lead", "LeadId", 0.4)):
        for somebody in story.rows.get(kind, []):
            if somebody.get("IsDeleted") or somebody.get("IsConverted") or not story.chance(share):
                continue
            for host in story.rng.sample(made, story.rng.choices((1, 2), (80, 20))[0]):
                _member(story, host, field, somebody["Id"])


def keep_busy(story: Story) -> None:
    """Add tasks and events about people and deals, and date the last activity of everyone concerned."""
    deals: dict[str, list[str]] = {}
    for deal in story.rows.get("Opportunity", []):
        if not deal.get("IsDeleted"):
            deals.setdefault(deal["AccountId"], []).append(deal["Id"])
    for contact in story.rows.get("Contact", []):
        if contact.get("IsDeleted"):
            continue
        about = [*deals.get(contact["AccountId"], []), *filter(None, [contact["AccountId"]])]
        for _ in range(story.rng.choices((0, 1, 2, 3), (30, 35, 25, 10))[0]):
            _task(story, contact, about)
        if story.chance(0.2):
            _meeting(story, contact, about)
    for lead in story.rows.get("Lead", []):
        if not lead.get("IsConverted") and story.chance(0.4):  # a converted lead's activities went to the contact
            _task(story, lead, [])


def remember(story: Story) -> None:
    """Add history rows that agree with what the records look like now."""
    won: dict[str, datetime] = {}
    for deal in story.rows.get("Opportunity", []):
        if deal["IsWon"]:
            won.setdefault(deal["AccountId"], from_stamp(deal["LastStageChangeDate"]))
    for account in story.rows.get("Account", []):
        signed = won.get(account["Id"])
        if signed is None:
            continue
        _history(story, "AccountHistory", account, ("Type", "Prospect", "Paying Customer"), signed)
        if account["Type"] == "Churned Customer":
            left = story.moment(signed)
            _history(story, "AccountHistory", account, ("Type", "Paying Customer", "Churned Customer"), left)
    for contact in story.rows.get("Contact", []):
        if contact["Title"] and not contact.get("IsDeleted") and story.chance(0.1):
            old = names.person(story.rng).title
            at = story.moment(story.times[contact["Id"]])
            if old != contact["Title"]:
                _history(story, "ContactHistory", contact, ("Title", old, contact["Title"]), at)
    for deal in story.rows.get("Opportunity", []):
        _stages(story, deal)
    for lead in story.rows.get("Lead", []):
        if lead["Status"] != "New" and lead["LeadSource"] != "Purchased List" and story.chance(0.5):
            at = story.moment(story.times[lead["Id"]])
            _history(story, "LeadHistory", lead, ("Status", "New", lead["Status"]), at)


def _campaign(story: Story, number: int) -> Row:
    theme = names.CAMPAIGN_THEMES[number % len(names.CAMPAIGN_THEMES)]
    opens = story.day(-700, 20)
    closes = opens + timedelta(days=story.rng.randint(1, 60))
    today = story.ends_at.date()
    status = "Planned" if opens > today else "In Progress" if closes >= today else "Completed"
    row: Row = {
        "Name": f"{theme} {opens:%Y-%m}" if number else f"Café & Data {opens:%Y} ☕",
        "Type": _TYPES[number % len(_TYPES)],
        "Status": status,
        "StartDate": opens.isoformat(),
        "EndDate": closes.isoformat(),
        "IsActive": status == "In Progress",
        "BudgetedCost": float(story.rng.randint(5, 400) * 100),
        "ActualCost": story.maybe(0.6, float(story.rng.randint(5, 400) * 100)),
        "ExpectedResponse": round(story.rng.uniform(0.5, 20), 2),
        "NumberSent": float(story.rng.randint(0, 20_000)),
        "Description": story.maybe(0.3, story.pick(names.DESCRIPTIONS)),
        "NumberOfLeads": 0,
        "NumberOfContacts": 0,
        "NumberOfResponses": 0,
        "OwnerId": story.manager,
        "Landing_Page__c": f"https://lanternfish.example.com/{names.slug(theme)}",
        "Audience__c": story.pick(("Developers", "Executives", "Partners")),
    }
    from_day = story.starts + (story.ends_at - story.starts) * (number / 60)
    story.add("Campaign", "701", row, story.moment(from_day), story.manager)
    return row


def _member(story: Story, host: Row, field: str, person: str) -> None:
    born = story.moment(max(story.times[host["Id"]], story.times[person]))
    changed = story.moment(born)
    responded = story.chance(0.35)
    row: Row = {
        "CampaignId": host["Id"],
        field: person,
        "Status": story.pick(("Responded", "Attended")) if responded else story.pick(("Sent", "Sent", "No Show")),
        "HasResponded": responded,
        "FirstRespondedDate": changed.date().isoformat() if responded else None,
        "Type": field.removesuffix("Id"),
        "LeadOrContactId": person,
        "Booth_Notes__c": story.maybe(0.05, "Asked for a sticker; took three 🦊"),
    }
    story.add("CampaignMember", "00v", row, born, host["OwnerId"], changed=changed)
    host["NumberOfContacts" if field == "ContactId" else "NumberOfLeads"] += 1
    host["NumberOfResponses"] += responded


def _task(story: Story, person: Row, about: list[str]) -> None:
    born = story.moment(story.times[person["Id"]])
    done = story.chance(0.7)
    changed = story.moment(born)
    due = changed.date() if done else story.day(-5, 30)
    priority = names.weighted(story.rng, ("Normal", "High", "Low"), (80, 15, 5))
    kind = names.weighted(story.rng, ("Task", "Call", "Email"), (50, 30, 20))
    row: Row = {
        "WhoId": person["Id"],
        "WhatId": story.maybe(0.7, story.pick(about)) if about else None,
        "Subject": story.pick(names.TASK_SUBJECTS),
        "ActivityDate": due.isoformat() if done else story.maybe(0.9, due.isoformat()),
        "Status": "Completed" if done else story.pick(("Not Started", "In Progress", "Deferred")),
        "Priority": priority,
        "IsHighPriority": priority == "High",
        "OwnerId": person["OwnerId"],
        "Description": story.maybe(0.2, story.pick(names.DESCRIPTIONS)),
        "AccountId": person.get("AccountId"),
        "IsClosed": done,
        "TaskSubtype": kind,
        "CallType": "Outbound" if kind == "Call" else None,
        "CallDurationInSeconds": story.rng.randint(15, 3600) if kind == "Call" and done else None,
        "CompletedDateTime": stamp(changed) if done else None,
        "Outcome__c": story.pick(("Reached", "Left Message", "No Answer")) if kind == "Call" and done else None,
        "Effort_Hours__c": story.pick((None, 0.1, 0.2, 0.3, 1.5)),
    }
    story.add("Task", "00T", row, born, person["OwnerId"], changed=changed)
    if done:
        _active(story, row, person)


def _meeting(story: Story, person: Row, about: list[str]) -> None:
    born = story.moment(story.times[person["Id"]])
    starts = story.moment(born) + timedelta(days=story.rng.randint(0, 20))
    minutes = story.pick((30, 45, 60, 90))
    row: Row = {
        "WhoId": person["Id"],
        "WhatId": story.pick(about) if about else None,
        "Subject": story.pick(names.EVENT_SUBJECTS),
        "Location": story.maybe(0.5, story.pick(("Video call", "Their office, 3rd floor", "Zürich HB"))),
        "ActivityDateTime": stamp(starts),
        "ActivityDate": starts.date().isoformat(),
        "DurationInMinutes": minutes,
        "StartDateTime": stamp(starts),
        "EndDateTime": stamp(starts + timedelta(minutes=minutes)),
        "Description": story.maybe(0.2, story.pick(names.DESCRIPTIONS)),
        "AccountId": person.get("AccountId"),
        "OwnerId": person["OwnerId"],
        "ShowAs": "Busy",
        "Meeting_Kind__c": story.pick(("Demo", "Kick-off", "Review")),
        "No_Show__c": story.chance(0.08),
    }
    story.add("Event", "00U", row, born, person["OwnerId"])
    if starts < story.quiet:
        _active(story, row, person)


def _active(story: Story, activity: Row, person: Row) -> None:
    """Date the last activity of the person, the account and the deal, as saving an activity does."""
    day = activity["ActivityDate"]
    others = (activity["WhatId"], activity["AccountId"])
    for row in (person, *(story.row(key) for key in others if key)):
        if (row.get("LastActivityDate") or "") < day:
            row["LastActivityDate"] = day


def _stages(story: Story, deal: Row) -> None:
    """Write the stages a deal went through, up to the one it is in."""
    stage = deal["StageName"]
    reached = story.rng.randint(1, len(OPEN_STAGES)) if STAGES[stage][2] else OPEN_STAGES.index(stage) + 1
    path = [OPEN_STAGES[place] for place in range(reached) if place in (0, reached - 1) or story.chance(0.4)]
    path += [stage] if path[-1] != stage else []
    at = story.times[deal["Id"]]
    _snapshot(story, deal, path[0], at)
    for old, new in pairwise(path):
        at = story.moment(at)
        story.saved(deal, at)
        _snapshot(story, deal, new, at)
        row = {
            "OpportunityId": deal["Id"],
            "CreatedById": deal["OwnerId"],
            "CreatedDate": stamp(at),
            "Field": "StageName",
            "DataType": "DynamicEnum",
            "OldValue": old,
            "NewValue": new,
        }
        story.note("OpportunityFieldHistory", row)


def _snapshot(story: Story, deal: Row, stage: str, at: datetime) -> None:
    """Write how the deal looked in a stage; in its present one it has its present probability and forecast."""
    row = {name: deal[name] for name in ("StageName", "Probability", "ForecastCategory", "Amount", "CloseDate")}
    if stage != deal["StageName"]:
        probability, forecast, _, _ = STAGES[stage]
        row |= {"StageName": stage, "Probability": probability, "ForecastCategory": forecast.replace(" ", "")}
    row |= {"OpportunityId": deal["Id"], "CreatedById": deal["OwnerId"], "CreatedDate": stamp(at)}
    amount = row["Amount"]
    row["ExpectedRevenue"] = None if amount is None else round(amount * row["Probability"] / 100, 2)
    story.note("OpportunityHistory", row | {"SystemModstamp": stamp(at)}, "008")


def _history(story: Story, log: str, record: Row, change: tuple[str, str, str], at: datetime) -> None:
    field, old, new = change
    story.saved(record, at)
    row = {
        f"{log.removesuffix('History')}Id": record["Id"],
        "CreatedById": record["OwnerId"],
        "CreatedDate": stamp(at),
        "Field": field,
        "DataType": "Text" if field == "Title" else "DynamicEnum",
        "OldValue": old,
        "NewValue": new,
    }
    story.note(log, row)
