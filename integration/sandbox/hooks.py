"""What the platform fills in by itself: names put together, flags that follow a status, formulas."""

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from integration.sandbox.org import Org

Record = dict[str, Any]

# Stage -> (default probability, forecast category, closed, won)
STAGES: dict[str, tuple[float, str, bool, bool]] = {
    "Prospecting": (10.0, "Pipeline", False, False),
    "Qualification": (10.0, "Pipeline", False, False),
    "Needs Analysis": (20.0, "Pipeline", False, False),
    "Value Proposition": (50.0, "Pipeline", False, False),
    "Id. Decision Makers": (60.0, "Pipeline", False, False),
    "Perception Analysis": (70.0, "Pipeline", False, False),
    "Proposal/Price Quote": (75.0, "Best Case", False, False),
    "Negotiation/Review": (90.0, "Commit", False, False),
    "Closed Won": (100.0, "Closed", True, True),
    "Closed Lost": (0.0, "Omitted", True, False),
}


def name_person(record: Record, changed: Mapping[str, Any], _org: "Org") -> None:
    """Put a person's Name together, unless a record without parts (an import) brings its own."""
    if "FirstName" in changed or "LastName" in changed:
        record["Name"] = " ".join(part for part in (record["FirstName"], record["LastName"]) if part) or None


def follow_stage(record: Record, changed: Mapping[str, Any], _org: "Org") -> None:
    """Set an opportunity's probability, forecast and closed/won flags from its stage."""
    if "StageName" in changed:
        probability, forecast, closed, won = STAGES.get(record["StageName"] or "", (10.0, "Pipeline", False, False))
        if "Probability" not in changed:
            record["Probability"] = probability
        record["ForecastCategory"] = forecast.replace(" ", "")
        record["ForecastCategoryName"] = forecast
        record["IsClosed"], record["IsWon"] = closed, won
        record["LastStageChangeDate"] = record["SystemModstamp"]
    if record["CloseDate"]:
        month = int(record["CloseDate"][5:7])
        record["FiscalYear"] = int(record["CloseDate"][:4])
        record["FiscalQuarter"] = (month + 2) // 3
        record["Fiscal"] = f"{record['FiscalYear']} {record['FiscalQuarter']}"


def follow_task(record: Record, changed: Mapping[str, Any], org: "Org") -> None:
    """Close a completed task, date its completion, and find its account."""
    closed = record["Status"] == "Completed"
    if closed and not record["IsClosed"]:
        record["CompletedDateTime"] = record["SystemModstamp"]
    elif not closed:
        record["CompletedDateTime"] = None
    record["IsClosed"] = closed
    record["IsHighPriority"] = record["Priority"] == "High"
    find_account(record, changed, org)


def find_account(record: Record, changed: Mapping[str, Any], org: "Org") -> None:
    """The account of an activity: what it is about, or where that or the person belongs."""
    if "WhatId" not in changed and "WhoId" not in changed:
        return
    record["AccountId"] = None
    for pointer in (record["WhatId"], record["WhoId"]):
        target = org.object_of(pointer) if pointer else None
        if target == "Account":
            record["AccountId"] = pointer
        elif target in ("Opportunity", "Contact"):
            record["AccountId"] = org.value(target, pointer, "AccountId")
        if record["AccountId"]:
            return


def follow_member(record: Record, changed: Mapping[str, Any], _org: "Org") -> None:
    """Set a campaign member's response from its status, and its kind from whom it names."""
    if "Status" in changed:
        record["HasResponded"] = record["Status"] in ("Responded", "Attended")
        if record["HasResponded"] and not record["FirstRespondedDate"]:
            record["FirstRespondedDate"] = record["SystemModstamp"][:10]
    record["Type"] = "Contact" if record["ContactId"] else "Lead"
    record["LeadOrContactId"] = record["ContactId"] or record["LeadId"]


def yearly(record: Mapping[str, Any], _org: "Org") -> float | None:
    """ARR: twelve times MRR."""
    mrr = record["MRR__c"]
    return None if mrr is None else round(mrr * 12, 2)


def expected_revenue(record: Mapping[str, Any], _org: "Org") -> float | None:
    """Amount times probability."""
    amount, probability = record["Amount"], record["Probability"]
    return None if amount is None or probability is None else round(amount * probability / 100, 2)


def of_account(field: str) -> Any:
    """A cross-object formula: the account's field, or null without an account."""

    def read(record: Mapping[str, Any], org: "Org") -> Any:
        account = record["AccountId"]
        return org.value("Account", account, field) if account else None

    return read


def days_to_close(record: Mapping[str, Any], org: "Org") -> float | None:
    """CloseDate minus TODAY() of an open deal: another number every day, whether anybody saves it or not."""
    if not record["CloseDate"] or record["IsClosed"]:
        return None
    return float((date.fromisoformat(record["CloseDate"]) - org.clock.now().date()).days)


def per_seat(record: Mapping[str, Any], _org: "Org") -> float | None:
    """MRR per seat."""
    mrr, seats = record["MRR__c"], record["Seats__c"]
    return round(mrr / seats, 2) if mrr is not None and seats else None


def weight(record: Mapping[str, Any], _org: "Org") -> str:
    """A text formula: the deal's size in words."""
    amount = record["Amount"] or 0
    return "Large" if amount >= 100_000 else "Medium" if amount >= 20_000 else "Small"
