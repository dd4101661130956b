"""The first chapters of the invented company: its own staff, its accounts, and the people in them."""

from datetime import datetime, timedelta

from integration.sandbox import names
from integration.sandbox.clock import stamp
from integration.sandbox.names import Company, Person
from integration.sandbox.story import Row, Story, clock_time, name_of, some_of

CLEARBIT = "cbit__Clearbit__c"
HOME_DOMAIN = "lanternfish.example.com"

TYPES = ("Paying Customer", "Prospect", "Churned Customer", "Partner")
_TYPE_WEIGHTS = (38, 42, 12, 8)
# Employees: (from, to, share); the price per seat falls with the number of seats.
_SIZES = ((1, 9, 14), (10, 49, 30), (50, 199, 28), (200, 999, 19), (1000, 12_000, 9))
_SEAT_PRICES = {"SMB": 39.9, "Mid-Market": 29.0, "Enterprise": 18.75}
_QUIRKS = ("tiny", "round", "null")
"""What the first few accounts are for: amounts whose binary sum is off, and texts that look like no value."""


def hire(story: Story, accounts: int) -> None:
    """Add the sales team: a manager, account executives and development reps, more in a larger org."""
    day_one = story.starts
    story.manager = _user(story, day_one, "VP Sales", None)
    executives = min(24, 4 + accounts // 60)
    for number in range(executives + 2):
        title = "Sales Development Representative" if number >= executives else "Account Executive"
        joined = day_one if number < 3 else story.moment(day_one, day_one + timedelta(days=300))
        story.reps.append(_user(story, joined, title, story.manager))


def found_accounts(story: Story, count: int) -> None:
    """Add the accounts with their enrichment records."""
    companies = names.companies(story.rng, count + max(10, count // 4))
    story.companies, story.strangers = companies[:count], companies[count:]
    for place, company in enumerate(story.companies):
        kind = TYPES[place] if place < len(TYPES) else names.weighted(story.rng, TYPES, _TYPE_WEIGHTS)
        _account(story, company, kind, place)


def staff_accounts(story: Story, count: int) -> None:
    """Add ``count`` contacts: one per account while they last, then more where there are more employees."""
    accounts = story.rows.get("Account", [])
    if not accounts:
        return
    weights = [1 + min(60, row["NumberOfEmployees"] or 1) ** 0.5 for row in accounts]
    extra = story.rng.choices(range(len(accounts)), weights, k=max(0, count - len(accounts)))
    homes = sorted([*range(min(count, len(accounts))), *extra])
    for number, home in enumerate(homes):
        _contact(story, story.companies[home], accounts[home], number)


def merge_some(story: Story, share: float = 0.01) -> None:
    """Add deleted doubles of contacts: what is left of records that were merged into another."""
    contacts = story.rows.get("Contact", [])
    for winner in story.rng.sample(contacts, max(min(1, len(contacts)), int(len(contacts) * share))):
        born = story.moment(story.times[winner["Id"]])
        gone = story.moment(born)
        double = {name: winner[name] for name in ("AccountId", "FirstName", "LastName", "Name", "Email", "OwnerId")}
        double |= {"IsDeleted": True, "MasterRecordId": winner["Id"], "Title": None, "LeadSource": "Web Sign-up"}
        story.add("Contact", "003", double, born, winner["CreatedById"], changed=gone)


def clearbit(story: Story, account: Row, company: Company, person: Person | None, email: str | None) -> str:
    """Add an enrichment record about a person at a company, or about the company alone; return its id."""
    sector, group, _ = names.INDUSTRY_SECTORS[company.industry]
    employees = account["NumberOfEmployees"]
    indexed = story.moment(story.times[account["Id"]])
    row: Row = {
        "Name": person.name if person else company.name[:80],
        "OwnerId": story.robot,
        "cbit__Company_Name__c": company.name,
        "cbit__Company_Domain__c": company.domain,
        "cbit__Company_Industry__c": company.industry,
        "cbit__Company_Category_Industry__c": company.industry,
        "cbit__Company_Category_Sector__c": sector,
        "cbit__Company_Metrics_Employees__c": employees,
        "cbit__Company_Metrics_Annual_Revenue__c": account["AnnualRevenue"],
        "cbit__Company_Size__c": employees,
        "cbit__Company_Description__c": story.maybe(0.5, f"{company.name}: {group}, {account['BillingCity']}."),
        "cbit__Fuzzy__c": story.chance(0.1),
        "cbit__Indexed_At__c": stamp(indexed),
    }
    if person is not None:
        row |= {
            "cbit__Email__c": email,
            "cbit__Full_Name__c": person.name,
            "cbit__Employment_Title__c": person.title,
            "cbit__Employment_Role__c": person.role,
            "cbit__Employment_Seniority__c": person.seniority,
            "cbit__Role__c": person.role,
            "cbit__LinkedIn__c": f"https://social.example.org/in/{names.slug(person.name)}",
        }
    return story.add(CLEARBIT, "a0C", row, indexed, story.robot)


def _user(story: Story, joined: datetime, title: str, manager: str | None) -> str:
    someone = names.person(story.rng)
    email = story.emails.new(someone.first, someone.last, HOME_DOMAIN)
    row = {
        "FirstName": someone.first,
        "LastName": someone.last,
        "Name": someone.name,
        "Username": email,
        "Email": email,
        "Alias": names.slug(someone.last)[:5] + str(len(story.reps)),
        "Title": title,
        "Department": "Sales",
        "CompanyName": "Lanternfish",
        "ManagerId": manager,
        "IsActive": True,
        "TimeZoneSidKey": story.pick(("Europe/Dublin", "America/Los_Angeles", "Asia/Tokyo")),
        "LocaleSidKey": "en_US",
        "LanguageLocaleKey": "en_US",
        "UserType": "Standard",
        "Quota__c": float(story.rng.randint(10, 60) * 10_000) if manager else None,
        "Region__c": story.pick(("EMEA", "AMER", "APAC")),
    }
    return story.add("User", "005", row, joined, story.robot)


def _account(story: Story, company: Company, kind: str, place: int) -> None:
    rng = story.rng
    low, high, _ = rng.choices(_SIZES, [size[2] for size in _SIZES])[0]
    employees = rng.randint(low, high)
    segment = "SMB" if employees < 100 else "Mid-Market" if employees < 1000 else "Enterprise"
    # Customers came earlier than those who still think about it.
    born = story.moment(story.starts, story.ends_at - timedelta(days=90 if kind in TYPES[::2] else 1))
    owner = story.pick(story.reps)
    accounts = story.rows.get("Account", [])
    row: Row = {
        "Name": company.name + (" 🚀" if story.chance(0.01) or place == 5 else ""),
        "Type": kind,
        "ParentId": story.pick(accounts)["Id"] if accounts and story.chance(0.06) else None,
        "Industry": company.industry,
        "AnnualRevenue": story.maybe(0.9, float(employees * rng.randint(60, 260) * 1000)),
        "NumberOfEmployees": employees,
        "Phone": story.maybe(0.9, names.phone(rng)),
        "Website": f"https://{company.domain}",
        "AccountNumber": f"{place + 1:06d}",  # leading zeros: a number only to the eye
        "Ownership": story.maybe(0.7, story.pick(("Public", "Private", "Private", "Subsidiary"))),
        "Description": story.maybe(0.25, story.pick(names.DESCRIPTIONS)),
        "Rating": story.maybe(0.6, story.pick(("Hot", "Warm", "Cold"))),
        "AccountSource": story.maybe(0.8, story.pick(names.LEAD_SOURCES)),
        "YearStarted": str(rng.randint(1950, story.ends_at.year - 3)),
        "OwnerId": owner,
        "Segment__c": segment,
        "Tax_Number__c": f"XX-{rng.randint(10**8, 10**9 - 1)}",
        "Strategic__c": segment == "Enterprise" and story.chance(0.4),
        "Support_Hours_Start__c": clock_time(story),
        **names.place(rng, "Billing"),
        **(names.place(rng, "Shipping") if story.chance(0.4) else {}),
    }
    row |= _subscription(story, kind, segment, employees, company)
    _quirk(row, place)
    if story.chance(0.3):
        row |= {"Office__Latitude__s": 0.1 + 0.2, "Office__Longitude__s": round(rng.uniform(-180, 180), 6)}
    story.add("Account", "001", row, born, owner)
    if story.chance(0.92):
        row[CLEARBIT] = clearbit(story, row, company, None, None)


def _subscription(story: Story, kind: str, segment: str, employees: int, company: Company) -> Row:
    """Return what an account pays for, and how it is doing, as far as its type allows."""
    if kind == "Churned Customer":
        return {"MRR__c": story.maybe(0.6, 0.0), "Seats__c": 0.0, "Churn_Risk__c": 100.0, "Products__c": None}
    if kind != "Paying Customer":
        return {"MRR__c": None, "Seats__c": None, "Churn_Risk__c": None, "Products__c": None}
    rng = story.rng
    seats = max(1, round(employees * rng.uniform(0.05, 0.6)))
    return {
        "Seats__c": float(seats),
        "MRR__c": round(seats * _SEAT_PRICES[segment] * rng.uniform(0.7, 1.0), 2),
        "Products__c": some_of(story, ("Core", "Insights", "Mobile", "Support"), 3) or "Core",
        "Health_Score__c": round(rng.uniform(0, 100), 1),
        "Churn_Risk__c": round(rng.uniform(0, 60), 1),
        "Renewal_Date__c": story.day(5, 360).isoformat(),
        "Last_Login__c": stamp(story.moment(story.quiet - timedelta(days=20))),
        "Billing_Email__c": f"billing@{company.domain}",
    }


def _quirk(row: Row, place: int) -> None:
    """Give the first accounts the values that careless code gets wrong."""
    if place == 0:
        row["MRR__c"], row["Seats__c"] = 1234.1, 3.0  # 1234.1 * 12 is 14809.199999999999 in binary
    elif place == 1:
        row["Description"], row["AnnualRevenue"] = "null", 139_500_000.0
    elif place == 2:
        row["Site"], row["Fax"] = "null", None
        row["Description"] = 'Left for "a cheaper one", came back,\nand left again.'


def _contact(story: Story, company: Company, account: Row, number: int) -> None:
    rng, someone = story.rng, names.person(story.rng)
    colleagues = story.rows.get("Contact", [])
    boss = colleagues[-1] if colleagues and colleagues[-1]["AccountId"] == account["Id"] else None
    alone = number > 0 and story.chance(0.015)
    domain = company.domain if story.chance(0.96) else "example.org"
    email = story.maybe(0.97, story.emails.new(someone.first, someone.last, domain))
    if colleagues and number % 97 == 96:
        someone, email = _old_friend(story, someone, email)
    born = story.moment(story.times[account["Id"]])
    owner = account["OwnerId"] if story.chance(0.85) else story.pick(story.reps)
    row: Row = {
        "AccountId": None if alone else account["Id"],
        "Salutation": someone.salutation,
        "FirstName": someone.first if story.chance(0.98) else None,
        "LastName": "Null" if number == 4 else someone.last,
        "Email": email,
        "Title": "null" if number == 7 else story.maybe(0.96, someone.title),
        "Department": story.maybe(0.7, someone.role),
        "Phone": story.maybe(0.7, names.phone(rng)),
        "MobilePhone": story.maybe(0.4, names.phone(rng)),
        "ReportsToId": boss["Id"] if boss is not None and not alone and story.chance(0.3) else None,
        "LeadSource": names.weighted(rng, names.LEAD_SOURCES, names.LEAD_SOURCE_WEIGHTS),
        "Birthdate": story.maybe(0.1, story.day(-24_000, -8_000).isoformat()),
        "Description": story.maybe(0.08, story.pick(names.DESCRIPTIONS)),
        "OwnerId": owner,
        "HasOptedOutOfEmail": story.chance(0.06),
        "DoNotCall": story.chance(0.04),
        "Role__c": story.maybe(0.6, story.pick(("Champion", "Decision Maker", "User", "Blocker"))),
        "Interests__c": some_of(story, ("Pricing", "Security", "Roadmap", "Training"), 3),
        "Score__c": story.maybe(0.8, round(rng.uniform(0, 100), 1)),
        "Engagement__c": story.maybe(0.8, round(rng.uniform(0, 100), 1)),
        "Last_Seen__c": story.maybe(0.6, stamp(story.moment(born))),
        "Preferred_Call_Time__c": story.maybe(0.3, clock_time(story)),
        "LinkedIn__c": story.maybe(0.5, f"https://social.example.org/in/{names.slug(someone.name)}"),
    }
    row["Name"] = name_of(row["FirstName"], row["LastName"])
    if story.chance(0.6):
        row |= names.place(rng, "Mailing")
    if email and story.chance(0.02):
        row |= {"IsEmailBounced": True, "EmailBouncedReason": "550 mailbox unavailable"}
        row["EmailBouncedDate"] = stamp(story.moment(born))
    if email and story.chance(0.82):
        row[CLEARBIT] = clearbit(story, account, company, someone, email)
    # A handful of edits in the last hour: what a first poll finds in its overlap.
    late = story.quiet + timedelta(seconds=600 * (number // 9) + 61) if number in (9, 18, 27, 36) else None
    story.add("Contact", "003", row, born, owner, **({"changed": late} if late else {}))


def _old_friend(story: Story, someone: Person, email: str | None) -> tuple[Person, str | None]:
    """Return a person we know from another account: the same name and address, a second contact."""
    friend = story.pick(story.rows["Contact"])
    if not friend["FirstName"] or not friend["Email"]:
        return someone, email
    moved = Person(friend["FirstName"], friend["LastName"], None, someone.role, someone.seniority, someone.title)
    return moved, friend["Email"]
