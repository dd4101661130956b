"""Deals, tasks and campaigns on their way. Each returns a sentence, or None if there is nothing for it."""

from datetime import timedelta

from integration.sandbox import names
from integration.sandbox.traffic_desk import Desk, Row, dollars, label
from integration.sandbox.world_deals import OPEN_STAGES

_ROLES = ("Decision Maker", "Economic Buyer", "Evaluator", "Executive Sponsor", "Influencer")


def opportunity_created(desk: Desk) -> str | None:
    """A new deal with an account, with somebody's role in it if the account has people."""
    account = desk.account()
    if account is None:
        return None
    amount = round(desk.rng.uniform(500, 90_000), 2)
    closes = desk.org.clock.now().date() + timedelta(days=desk.rng.randint(10, 120))
    user = desk.user()
    deal = {
        "Name": f"{label(account)[:80]} - New Business {closes:%Y-%m}",
        "AccountId": account["Id"],
        "StageName": OPEN_STAGES[0],
        "Amount": amount,
        "CloseDate": closes,
        "Type": "New Business",
        "LeadSource": names.weighted(desk.rng, names.LEAD_SOURCES, names.LEAD_SOURCE_WEIGHTS),
        **({"OwnerId": user} if user else {}),
    }
    key = desk.org.insert("Opportunity", deal, by=user)
    person = desk.find("Contact", lambda row: row["AccountId"] == account["Id"])
    said = f"A deal of {dollars(amount)} with {label(account)} began"
    if person is None:
        return said
    role = {"OpportunityId": key, "ContactId": person["Id"], "Role": desk.choose(_ROLES), "IsPrimary": True}
    desk.org.insert("OpportunityContactRole", role, by=user)
    return f"{said}; {label(person)} is the primary contact"


def role_added(desk: Desk) -> str | None:
    """One more person of the account has a say in a deal."""
    deal = desk.find("Opportunity", lambda row: bool(row["AccountId"]))
    if deal is None:
        return None
    person = desk.find("Contact", lambda row: row["AccountId"] == deal["AccountId"])
    if person is None:
        return None
    role = {"OpportunityId": deal["Id"], "ContactId": person["Id"], "Role": desk.choose(_ROLES)}
    desk.org.insert("OpportunityContactRole", role, by=desk.user())
    return f"{label(person)} is {role['Role']} in {label(deal)}"


def opportunity_stage(desk: Desk) -> str | None:
    """A deal moves one stage forward."""
    deal = desk.find("Opportunity", lambda row: not row["IsClosed"] and row["StageName"] != OPEN_STAGES[-1])
    if deal is None:
        return None
    # A stage we don't know (an export's own) counts as halfway.
    at = OPEN_STAGES.index(deal["StageName"]) if deal["StageName"] in OPEN_STAGES else len(OPEN_STAGES) // 2
    stage = OPEN_STAGES[at + 1]
    desk.org.update("Opportunity", deal["Id"], {"StageName": stage}, by=desk.user())
    return f"{label(deal)} moved from {deal['StageName']} to {stage}"


def opportunity_won(desk: Desk) -> str | None:
    """A deal is won."""
    deal = desk.find("Opportunity", _is_open)
    if deal is None:
        return None
    _close(desk, deal, {"StageName": "Closed Won"})
    return f"{label(deal)} is won: {dollars(deal['Amount'])}"


def opportunity_lost(desk: Desk) -> str | None:
    """A deal is lost."""
    deal = desk.find("Opportunity", _is_open)
    if deal is None:
        return None
    reason = desk.choose(("Price", "Feature", "Timing", "No Decision"))
    _close(desk, deal, {"StageName": "Closed Lost", "Loss_Reason__c": reason})
    return f"{label(deal)} is lost ({reason.lower()})"


def opportunity_amount(desk: Desk) -> str | None:
    """The sum of an open deal changes."""
    deal = desk.find("Opportunity", _is_open)
    if deal is None:
        return None
    amount = round((deal["Amount"] or 1000.0) * desk.rng.uniform(0.7, 1.3) + 0.01, 2)
    if amount == deal["Amount"]:
        amount = round(amount + 0.1, 2)
    desk.org.update("Opportunity", deal["Id"], {"Amount": amount}, by=desk.user())
    return f"{label(deal)} is worth {dollars(amount)} instead of {dollars(deal['Amount'])}"


def task_created(desk: Desk) -> str | None:
    """Somebody plans to call or write to a contact or a lead."""
    person = desk.find("Contact" if desk.rng.random() < 0.7 else "Lead", lambda row: not row.get("IsConverted"))
    if person is None:
        return None
    subject = desk.choose(names.TASK_SUBJECTS)
    due = desk.org.clock.now().date() + timedelta(days=desk.rng.randint(0, 14))
    user = desk.user()
    task = {"WhoId": person["Id"], "Subject": subject, "ActivityDate": due, "Status": "Not Started"}
    if user:
        task["OwnerId"] = user
    desk.org.insert("Task", task, by=user)
    return f'A task "{subject}" about {desk.who(person)} is due {due.isoformat()}'


def task_completed(desk: Desk) -> str | None:
    """Somebody did what was planned."""
    task = desk.find("Task", lambda row: not row["IsClosed"])
    if task is None:
        return None
    desk.org.update("Task", task["Id"], {"Status": "Completed"}, by=desk.user())
    person = desk.get("Contact", task["WhoId"]) or desk.get("Lead", task["WhoId"])
    return f'The task "{label(task)}"{" about " + label(person) if person else ""} is done'


def campaign_joined(desk: Desk) -> str | None:
    """A contact or lead becomes a member of a campaign."""
    campaign = desk.find("Campaign")
    kind = "Contact" if desk.rng.random() < 0.6 else "Lead"
    if campaign is None:
        return None
    # Nobody is a member twice.
    members = desk.org.table("CampaignMember")
    place = members.at[f"{kind}Id"]
    taken = {row[place] for row in members.live_with("CampaignId", frozenset({campaign["Id"]}))}
    person = desk.find(kind, lambda row: not row.get("IsConverted") and row["Id"] not in taken)
    if person is None:
        return None
    member = {"CampaignId": campaign["Id"], f"{kind}Id": person["Id"], "Status": "Sent"}
    desk.org.insert("CampaignMember", member, by=desk.user())
    return f"{label(person)} is a member of {label(campaign)}"


def campaign_responded(desk: Desk) -> str | None:
    """A member of a campaign responds."""
    member = desk.find("CampaignMember", lambda row: not row["HasResponded"])
    if member is None:
        return None
    desk.org.update("CampaignMember", member["Id"], {"Status": "Responded"}, by=desk.user())
    person = desk.get("Contact", member["ContactId"]) or desk.get("Lead", member["LeadId"])
    campaign = desk.get("Campaign", member["CampaignId"])
    return f"{label(person or member)} responded to {label(campaign or member)}"


def _is_open(deal: Row) -> bool:
    return not deal["IsClosed"]


def _close(desk: Desk, deal: Row, fields: Row) -> None:
    today = desk.org.clock.now().date()
    desk.org.update("Opportunity", deal["Id"], {**fields, "CloseDate": today, "NextStep": None}, by=desk.user())
