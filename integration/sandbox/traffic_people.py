"""Everyday edits of contacts, accounts and leads. Each returns a sentence, or None if there is nobody for it."""

from typing import Any

from integration.sandbox import names
from integration.sandbox.traffic_desk import Desk, Row, dollars, label

_TYPES = {"Prospect": "Paying Customer", "Paying Customer": "Churned Customer", "Churned Customer": "Paying Customer"}


def contact_created(desk: Desk) -> str | None:
    """Somebody new at an account."""
    account = desk.account()
    if account is None:
        return None
    contact = _new_person(desk, account.get("Website"))
    contact |= {"AccountId": account["Id"], "OwnerId": account["OwnerId"]}
    desk.org.insert("Contact", contact, by=desk.user())
    return f"{contact['FirstName']} {contact['LastName']} at {label(account)} is a new contact"


def contact_title(desk: Desk) -> str | None:
    """A promotion or a new job in the same house."""
    contact = desk.find("Contact")
    if contact is None:
        return None
    known = names.role_of(contact["Title"] or "")
    role = known[0] if known else names.weighted(desk.rng, names.ROLES, names.ROLE_WEIGHTS)
    title = names.title(desk.rng, role, desk.choose(names.SENIORITIES))
    if title == contact["Title"]:
        title = f"Senior {title}"
    desk.org.update("Contact", contact["Id"], {"Title": title}, by=desk.user())
    return f"{desk.who(contact)} is now {title}"


def contact_phone(desk: Desk) -> str | None:
    """A new telephone number."""
    contact = desk.find("Contact")
    if contact is None:
        return None
    phone = names.phone(desk.rng)
    if phone == contact["Phone"]:
        phone += " ext. 2"
    desk.org.update("Contact", contact["Id"], {"Phone": phone}, by=desk.user())
    return f"{desk.who(contact)} can be called at {phone} now"


def contact_email(desk: Desk) -> str | None:
    """A new e-mail address, and once in a while none any more."""
    contact = desk.find("Contact")
    if contact is None:
        return None
    if contact["Email"] and desk.rng.random() < 0.1:
        desk.org.update("Contact", contact["Id"], {"Email": None}, by=desk.user())
        return f"{desk.who(contact)} has no e-mail address any more"
    account = desk.get("Account", contact["AccountId"])
    email = desk.email(contact["FirstName"] or "x", contact["LastName"], account.get("Website") if account else None)
    desk.org.update("Contact", contact["Id"], {"Email": email}, by=desk.user())
    return f"{desk.who(contact)} now writes from {email}"


def contact_moved(desk: Desk) -> str | None:
    """Somebody changes the employer."""
    contact = desk.find("Contact")
    old = contact["AccountId"] if contact else None
    account = desk.find("Account", lambda row: row["Id"] != old)
    if contact is None or account is None:
        return None
    desk.org.update("Contact", contact["Id"], {"AccountId": account["Id"]}, by=desk.user())
    return f"{desk.who(contact)} moved to {label(account)}"


def contact_owner(desk: Desk) -> str | None:
    """Somebody else looks after a contact."""
    return _owner(desk, "Contact")


def account_mrr(desk: Desk) -> str | None:
    """A paying customer pays more or less."""
    account = desk.find("Account", lambda row: bool(row.get("MRR__c")))
    if account is None:
        return _first_bill(desk)
    mrr = round(account["MRR__c"] * desk.rng.uniform(0.8, 1.4) + 0.01, 2)
    if mrr == account["MRR__c"]:
        mrr = round(mrr + 0.1, 2)
    desk.org.update("Account", account["Id"], {"MRR__c": mrr}, by=desk.user())
    return f"{label(account)} pays {dollars(mrr)} a month instead of {dollars(account['MRR__c'])}"


def account_industry(desk: Desk) -> str | None:
    """Somebody corrects an industry."""
    account = desk.account()
    if account is None:
        return None
    industry = desk.choose([name for name in names.INDUSTRIES if name != account["Industry"]])
    desk.org.update("Account", account["Id"], {"Industry": industry}, by=desk.user())
    return f"{label(account)} is in {industry} now"


def account_type(desk: Desk) -> str | None:
    """A prospect becomes a customer, a customer leaves or comes back."""
    account = desk.find("Account", lambda row: row["Type"] in _TYPES)
    if account is None:
        return None
    kind = _TYPES[account["Type"]]
    mrr = round(desk.rng.uniform(50, 9000), 2) if kind == "Paying Customer" else 0
    desk.org.update("Account", account["Id"], {"Type": kind, "MRR__c": mrr}, by=desk.user())
    return f"{label(account)} went from {account['Type']} to {kind}"


def account_owner(desk: Desk) -> str | None:
    """Somebody else looks after an account."""
    return _owner(desk, "Account")


def lead_created(desk: Desk) -> str | None:
    """Somebody fills in a form, sometimes somebody we know, spelled another way."""
    lead = _new_person(desk, None)
    company = names.companies(desk.rng, 1)[0]
    lead |= {"Company": company.name, "Status": "New", "Industry": company.industry}
    lead["Email"] = desk.email(lead["FirstName"], lead["LastName"], company.domain)
    owner = desk.user()
    if owner:
        lead["OwnerId"] = owner
    known = desk.find("Contact", lambda row: bool(row["Email"])) if desk.rng.random() < 0.15 else None
    if known is not None:
        lead |= {"FirstName": known["FirstName"], "LastName": known["LastName"]}
        lead["Email"] = f" {known['Email'].upper()}"[:80]
    desk.org.insert("Lead", lead, by=owner)
    return f"{lead['FirstName'] or ''} {lead['LastName']} from {company.name} is a new lead".strip()


def lead_status(desk: Desk) -> str | None:
    """Somebody works on a lead."""
    lead = desk.find("Lead", lambda row: not row["IsConverted"])
    if lead is None:
        return None
    steps = [step for step in ("New", "Working", "Nurturing", "Qualified") if step != lead["Status"]]
    status = desk.choose(steps)
    desk.org.update("Lead", lead["Id"], {"Status": status}, by=desk.user())
    return f"Lead {label(lead)} is {status} now"


def lead_converted(desk: Desk) -> str | None:
    """A lead becomes a contact: of a new account, of one we have, or a contact we have already."""
    lead = desk.find("Lead", lambda row: not row["IsConverted"] and bool(row["Company"]))
    if lead is None:
        return None
    way = desk.choose(("new account", "known account", "known contact"))
    account = desk.account() if way == "known account" else None
    contact = desk.find("Contact", lambda row: bool(row["AccountId"])) if way == "known contact" else None
    with_deal = desk.rng.random() < 0.6
    result = desk.org.convert_lead(
        lead["Id"],
        account_id=account["Id"] if account else contact["AccountId"] if contact else None,
        contact_id=contact["Id"] if contact else None,
        with_opportunity=with_deal,
        by=desk.user(),
    )
    home = desk.get("Account", result["account_id"])
    target = f"contact {label(contact)}" if contact else "a new contact"
    deal = "with an opportunity" if with_deal else "without an opportunity"
    return f"Lead {label(lead)} was converted to {target} at {label(home) if home else 'no account'}, {deal}"


def enrichment_refreshed(desk: Desk) -> str | None:
    """The enrichment service counts a company's people again."""
    name = "cbit__Clearbit__c"
    record = desk.find(name)
    if record is None:
        return None
    employees = float(round((record["cbit__Company_Size__c"] or 10) * desk.rng.uniform(1.01, 1.3)) + 1)
    fields = {"cbit__Company_Size__c": employees, "cbit__Company_Metrics_Employees__c": employees}
    desk.org.update(name, record["Id"], fields)
    return f"Clearbit counts {employees:,.0f} people at {record['cbit__Company_Name__c'] or label(record)}"


def _owner(desk: Desk, name: str) -> str | None:
    record = desk.find(name)
    user = desk.other_user(record["OwnerId"] if record else None)
    if record is None or user is None:
        return None
    desk.org.update(name, record["Id"], {"OwnerId": user["Id"]}, by=desk.user())
    return f"{label(user)} looks after {label(record)} now"


def _first_bill(desk: Desk) -> str | None:
    # An org that was loaded from an export has no subscriptions yet: this is how they begin.
    account = desk.account()
    if account is None:
        return None
    mrr = round(desk.rng.uniform(50, 9000), 2)
    desk.org.update("Account", account["Id"], {"MRR__c": mrr}, by=desk.user())
    return f"{label(account)} pays {dollars(mrr)} a month"


def _new_person(desk: Desk, website: str | None) -> Row:
    someone = names.person(desk.rng)
    row: dict[str, Any] = {
        "FirstName": someone.first,
        "LastName": someone.last,
        "Title": someone.title,
        "Phone": names.phone(desk.rng),
        "LeadSource": names.weighted(desk.rng, names.LEAD_SOURCES, names.LEAD_SOURCE_WEIGHTS),
    }
    if website:
        row["Email"] = desk.email(someone.first, someone.last, website)
    return row
