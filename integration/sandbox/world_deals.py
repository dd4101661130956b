"""The selling chapters: leads that arrive, opportunities that move, and who has a say in them."""

from datetime import date, datetime, timedelta
from typing import Any

from integration.sandbox import names
from integration.sandbox.clock import stamp
from integration.sandbox.hooks import STAGES
from integration.sandbox.names import Person
from integration.sandbox.story import Row, Story, name_of, some_of

OPEN_STAGES = tuple(stage for stage, facts in STAGES.items() if not facts[2])
_ROLES = ("Decision Maker", "Economic Buyer", "Evaluator", "Executive Sponsor", "Influencer", "Other")
_LOSSES = ("Price", "Feature", "Timing", "No Decision")
_RIVALS = ("Acme", "Globex", "Initech", "Umbrella")


def sell(story: Story, count: int) -> None:
    """Add ``count`` opportunities: a won one for every customer first, the rest where business is likely."""
    accounts = story.rows.get("Account", [])
    if not accounts:
        return
    customers = [row for row in accounts if row["Type"] in ("Paying Customer", "Churned Customer")]
    for account in customers[:count]:
        _deal(story, account, "New Business", "Closed Won")
    weights = [{"Paying Customer": 5, "Prospect": 4, "Churned Customer": 2}.get(row["Type"], 1) for row in accounts]
    for account in story.rng.choices(accounts, weights, k=max(0, count - len(customers))):
        kind, stage = _next_deal(story, account["Type"])
        _deal(story, account, kind, stage)
    for row in story.rng.sample(story.rows.get("Opportunity", []), min(1, count)):
        _dropped(story, row)


def invite(story: Story) -> None:
    """Add contact roles: up to three people of the account for each opportunity, mostly with a primary one."""
    people: dict[str, list[Row]] = {}
    for contact in story.rows.get("Contact", []):
        if contact["AccountId"] and not contact.get("IsDeleted"):
            people.setdefault(contact["AccountId"], []).append(contact)
    for deal in story.rows.get("Opportunity", []):
        if deal.get("IsDeleted"):
            continue
        known = people.get(deal["AccountId"], [])
        chosen = story.rng.sample(known, min(len(known), story.rng.choices((0, 1, 2, 3), (8, 42, 32, 18))[0]))
        primary = 0 if story.chance(0.8) else -1
        for place, contact in enumerate(chosen):
            born = story.moment(max(story.times[deal["Id"]], story.times[contact["Id"]]))
            row = {
                "OpportunityId": deal["Id"],
                "ContactId": contact["Id"],
                "Role": story.maybe(0.85, story.pick(_ROLES)),
                "IsPrimary": place == primary,
            }
            story.add("OpportunityContactRole", "00K", row, born, deal["OwnerId"])


def attract(story: Story, count: int) -> None:
    """Add ``count`` leads: new people, people we know already in other spelling, doubles, converted ones."""
    contacts = [row for row in story.rows.get("Contact", []) if row["AccountId"] and not row.get("IsDeleted")]
    deals: dict[str, list[Row]] = {}
    for deal in story.rows.get("Opportunity", []):
        if not deal.get("IsDeleted"):
            deals.setdefault(deal["AccountId"], []).append(deal)
    known = [row for row in contacts if row["Email"]]
    batch = story.moment(story.starts + timedelta(days=200))  # a purchased list: one stamp for all of it
    for number in range(count):
        draw = (number % 20) / 20
        if draw < 0.25 and known:
            _converted(story, story.pick(known), deals)
        elif draw < 0.35 and known:
            _same_person(story, story.pick(known), number)
        elif draw < 0.4 and number > 20:
            _double(story, story.rows["Lead"][-1])
        else:
            _stranger(story, number, batch if 0.4 <= draw < 0.55 else None)


def _next_deal(story: Story, kind: str) -> tuple[str, str]:
    """Return (opportunity type, stage) of a further deal with an account of that type."""
    open_stage = story.pick(OPEN_STAGES)
    if kind == "Paying Customer":
        stage = story.rng.choices(("Closed Won", "Closed Lost", open_stage), (50, 15, 35))[0]
        return story.pick(("Existing Business", "Renewal")), stage
    if kind == "Churned Customer":
        return "Renewal", "Closed Lost" if story.chance(0.8) else open_stage
    return "New Business", "Closed Lost" if story.chance(0.35) else open_stage


def _deal(story: Story, account: Row, kind: str, stage: str) -> None:
    rng = story.rng
    probability, forecast, closed, won = STAGES[stage]
    born = story.moment(story.times[account["Id"]], story.ends_at - timedelta(days=3))
    changed = story.moment(born)
    ends = changed.date() if closed else story.day(-10, 150)
    quarter = (ends.month + 2) // 3
    amount = _amount(story, account)
    row: Row = {
        "AccountId": account["Id"],
        "Name": f"{account['Name'][:80]} - {kind} {ends:%Y-%m}",
        "Description": story.maybe(0.15, story.pick(names.DESCRIPTIONS)),
        "StageName": stage,
        "Amount": amount,
        "Probability": probability if closed or story.chance(0.9) else float(rng.randint(5, 95)),
        "TotalOpportunityQuantity": story.maybe(0.5, float(rng.randint(1, 400))),
        "CloseDate": ends.isoformat(),
        "Type": kind,
        "NextStep": None if closed else story.maybe(0.7, story.pick(names.NEXT_STEPS)),
        "LeadSource": names.weighted(rng, names.LEAD_SOURCES, names.LEAD_SOURCE_WEIGHTS),
        "IsClosed": closed,
        "IsWon": won,
        "ForecastCategory": forecast.replace(" ", ""),
        "ForecastCategoryName": forecast,
        "OwnerId": account["OwnerId"],
        "PushCount": rng.choices((0, 1, 2, 5), (70, 18, 9, 3))[0],
        "LastStageChangeDate": stamp(changed),
        "FiscalQuarter": quarter,
        "FiscalYear": ends.year,
        "Fiscal": f"{ends.year} {quarter}",
        "Discount_Amount__c": story.pick((None, 0.1, 0.2, 0.3, 49.99)),
        "Discount__c": story.pick((None, None, 5.0, 12.5, 33.3)),
        "Competitors__c": some_of(story, _RIVALS, 2),
        "Loss_Reason__c": story.pick(_LOSSES) if closed and not won else None,
        "Seats__c": story.maybe(0.8, rng.randint(1, 900)),
        **_plans(story, ends, account),
    }
    story.add("Opportunity", "006", row, born, account["OwnerId"], changed=changed)


def _amount(story: Story, account: Row) -> float | None:
    """Return a year's worth of the subscription, or what one would cost; sometimes nobody knows yet."""
    if account.get("MRR__c"):
        return round(float(account["MRR__c"]) * 12 * story.rng.uniform(0.2, 1.1), 2)
    guess = (account["NumberOfEmployees"] or 10) * story.rng.uniform(20, 160)
    return story.maybe(0.93, round(guess, 2))


def _plans(story: Story, ends: date, account: Row) -> dict[str, Any]:
    site = str(account["Website"])
    return {
        "Contract_Start__c": story.maybe(0.5, (ends + timedelta(days=14)).isoformat()),
        "Demo_At__c": story.maybe(0.5, stamp(story.moment(story.times[account["Id"]]))),
        "Next_Call_Time__c": story.maybe(0.3, f"{story.rng.randint(7, 18):02d}:30:00.000Z"),
        "Procurement_Email__c": story.maybe(0.2, f"procurement@{site.removeprefix('https://')}"),
        "Proposal__c": story.maybe(0.3, f"{site}/proposals/{story.rng.randint(100, 999)}"),
        "Score__c": story.maybe(0.6, round(story.rng.uniform(0, 100), 1)),
        "Legal_Approved__c": story.chance(0.3),
    }


def _dropped(story: Story, like: Row) -> None:
    """Add a deleted opportunity: entered twice, then thrown away."""
    born = story.moment(story.times[like["Id"]])
    own = ("CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp", "Id")
    row = {name: value for name, value in like.items() if name not in own} | {"IsDeleted": True}
    story.add("Opportunity", "006", row, born, like["OwnerId"], changed=story.moment(born))


def _person_row(story: Story, someone: Person, company: str, email: str | None) -> Row:
    rng = story.rng
    row: Row = {
        "Salutation": someone.salutation,
        "FirstName": someone.first if story.chance(0.97) else None,
        "LastName": someone.last,
        "Title": story.maybe(0.8, someone.title),
        "Company": company,
        "Email": email,
        "Phone": story.maybe(0.6, names.phone(rng)),
        "MobilePhone": story.maybe(0.2, names.phone(rng)),
        "Description": story.maybe(0.08, story.pick(names.DESCRIPTIONS)),
        "LeadSource": names.weighted(rng, names.LEAD_SOURCES, names.LEAD_SOURCE_WEIGHTS),
        "Status": names.weighted(rng, ("New", "Working", "Nurturing", "Unqualified"), (35, 35, 20, 10)),
        "Industry": story.maybe(0.6, names.weighted(rng, names.INDUSTRIES, names.INDUSTRY_WEIGHTS)),
        "Rating": story.maybe(0.5, story.pick(("Hot", "Warm", "Cold"))),
        "AnnualRevenue": story.maybe(0.3, float(rng.randint(1, 900) * 100_000)),
        "NumberOfEmployees": story.maybe(0.4, rng.randint(1, 5000)),
        "OwnerId": story.pick(story.reps),
        "IsUnreadByOwner": story.chance(0.3),
        "Score__c": story.maybe(0.7, round(rng.uniform(0, 100), 1)),
        "Product_Interest__c": story.maybe(0.6, story.pick(("Core", "Insights", "Mobile"))),
        "Channels__c": some_of(story, ("Web", "Event", "Partner"), 2),
        "Trial_Ends__c": story.maybe(0.3, story.day(-300, 14).isoformat()),
        "Budget__c": story.maybe(0.3, rng.randint(100, 9_999_999) / 100),
        "Fit__c": story.maybe(0.5, float(rng.randint(0, 100))),
        "GDPR_Consent__c": story.chance(0.6),
    }
    row["Name"] = name_of(row["FirstName"], row["LastName"])
    if story.chance(0.5):
        row |= names.place(rng, "")
    return row


def _stranger(story: Story, number: int, batch: datetime | None) -> None:
    """Add a lead nobody has seen before; those of a purchased list share one stamp."""
    someone, company = names.person(story.rng), story.pick(story.strangers)
    email = story.maybe(0.94, story.emails.new(someone.first, someone.last, company.domain))
    row = _person_row(story, someone, company.name, email)
    row["Website"] = story.maybe(0.5, f"https://{company.domain}")
    if batch is not None:
        row["LeadSource"] = "Purchased List"
        story.add("Lead", "00Q", row, batch, story.robot, changed=batch)
        return
    if number == 11:
        row["Company"] = "null"
    story.add("Lead", "00Q", row, story.moment(story.starts), row["OwnerId"])


def _same_person(story: Story, contact: Row, number: int) -> None:
    """Add a lead of somebody who is a contact already, with the e-mail typed another way."""
    email = str(contact["Email"])
    spelled = (f" {email}", email.upper(), f"{email} ", email.title())[(number + number // 20) % 4]
    someone = Person(contact["FirstName"] or "", contact["LastName"], None, "", "", contact["Title"] or "Manager")
    row = _person_row(story, someone, "Self-employed", spelled)
    row["FirstName"] = contact["FirstName"]
    row["Name"] = name_of(row["FirstName"], row["LastName"])
    story.add("Lead", "00Q", row, story.moment(story.starts), row["OwnerId"])


def _double(story: Story, lead: Row) -> None:
    """Add a lead that somebody entered a second time."""
    copied = ("FirstName", "LastName", "Name", "Company", "Email", "Title", "Phone", "OwnerId")
    row: Row = {name: lead[name] for name in copied} | {"Status": "New", "LeadSource": "Web Sign-up"}
    story.add("Lead", "00Q", row, story.moment(story.times[lead["Id"]]), lead["OwnerId"])


def _converted(story: Story, contact: Row, deals: dict[str, list[Row]]) -> None:
    """Add the lead that a contact once was."""
    account = contact["AccountId"]
    company = str(story.row(account)["Name"])
    email = str(contact["Email"])
    someone = Person(contact["FirstName"] or "", contact["LastName"], None, "", "", contact["Title"] or "Manager")
    row = _person_row(story, someone, company, email)
    changed = story.times[contact["Id"]]
    born = story.moment(max(story.starts, changed - timedelta(days=60)), changed)
    later = [deal for deal in deals.get(account, []) if story.times[deal["Id"]] >= changed]
    row |= {
        "FirstName": contact["FirstName"],
        "Name": contact["Name"],
        "LeadSource": contact["LeadSource"],
        "Status": "Qualified",
        "IsConverted": True,
        "ConvertedDate": changed.date().isoformat(),
        "ConvertedAccountId": account,
        "ConvertedContactId": contact["Id"],
        "ConvertedOpportunityId": later[0]["Id"] if later and story.chance(0.6) else None,
    }
    story.add("Lead", "00Q", row, born, row["OwnerId"], changed=max(born, changed))
