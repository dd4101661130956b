"""Story 1, target personas with SQL: each test is one of the acceptance criteria that stored people and events answer.

Everybody whose address belongs to one live contact (or lead) alone visits and signs up, or not, as a hash of the address
decides: from a campaign, by an anonymous browser that turns out to be theirs.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from xml.etree.ElementTree import fromstring
from zlib import crc32

import pytest
from compare import assert_equal

from integration.core.segment import read_call
from integration.sandbox.model import FieldDef, ObjectDef
from integration.store.answers import ask
from integration.store.opening import open_reader
from integration.stream import inspect
from integration.stream.connection import connect
from integration.stream.product import publish
from integration.wiring.catalog import catalog
from integration.wiring.explain import explain_row
from integration.wiring.report import fitted, report

Found = Callable[..., Any]

LEAD_TOO = {"HEADRACE_OBJECTS__Lead__ENRICH": "cbit__Clearbit__c"}

PLANS = ("free", "pro")
CAMPAIGNS = ("spring", "webinar", "referral", "launch")
OF_LEADS = "WITH sign_up AS (SELECT * FROM trial_requested)"

# The path of the raw tables: five of them.
RAW_CONTACTS = """
FROM sign_up JOIN users ON sign_up.user_id = users.user_id
JOIN salesforce.contact ON users.identity = lower(trim(contact.email)) AND NOT contact.is_deleted
LEFT JOIN salesforce.cbit__clearbit__c AS cbit ON contact.cbit__clearbit__c = cbit.id
LEFT JOIN salesforce.account ON contact.accountid = account.id
LEFT JOIN salesforce.cbit__clearbit__c AS company ON account.cbit__clearbit__c = company.id
"""
SIMPLE = "FROM users JOIN sign_up ON users.user_id = sign_up.user_id"


@pytest.fixture(scope="module")
def company(found_for_all: Found) -> Any:
    """A company with some history behind its first sync; tests only ask its store."""
    made = found_for_all(accounts=25, **LEAD_TOO)
    boxes = [r["Id"] for r in made.org.records("cbit__Clearbit__c") if r["cbit__Role__c"]]
    for number, lead in enumerate(made.org.records("Lead")):
        if not lead["IsConverted"]:
            made.org.update("Lead", lead["Id"], {"cbit__Clearbit__c": boxes[number]})
    made.sync()
    made.live(40)
    made.sync()
    contacts = addresses(made, "Contact")
    leads = [one for one in addresses(made, "Lead") if one not in contacts]
    send(made, [*sign_ups(contacts, "Sign Up"), *sign_ups(leads, "Trial Requested")])
    made.sync()
    return made


def addresses(company: Any, name: str) -> list[str]:
    """List the e-mails that one live record has alone."""
    records = [r for r in company.org.records(name) if r["Email"] and not r["IsDeleted"] and not r.get("IsConverted")]
    counts = Counter(r["Email"].strip().lower() for r in records)
    return sorted(email for email, count in counts.items() if count == 1)


def sign_ups(emails: list[str], event: str) -> list[dict[str, Any]]:
    """Return the calls of a browser: a visit, then, for those who sign up, who it was and that they did."""
    calls: list[dict[str, Any]] = []
    for email in emails:
        luck = crc32(email.encode())
        browser = {"anonymousId": f"browser-{luck}", "timestamp": f"2026-01-{1 + luck % 28:02d}T09:00:00.000Z"}
        campaign = {"campaign": {"name": CAMPAIGNS[luck % 4], "source": "ads"}}
        around = {"context": {**campaign, "page": {"referrer": "https://example.org/", "url": "https://example.com/"}}}
        calls.append({**browser, **around, "type": "page", "name": "Home", "messageId": f"visit-{email}"})
        if luck % 5:
            known = {**browser, "userId": f"user-{luck}"}
            told = {"email": email.title(), "plan": PLANS[luck % 2], "company": {"seatCount": luck % 9}}
            calls.append({**known, "type": "identify", "traits": told, "messageId": f"who-{email}"})
            calls.append({**known, **around, "type": "track", "event": event, "messageId": f"up-{email}"})
    return calls


def send(company: Any, calls: list[dict[str, Any]], received: datetime = datetime(2026, 2, 1, tzinfo=UTC)) -> None:
    """Put the calls into the stream as the door does."""
    with connect(company.settings.redis.url) as client:
        for start in range(0, len(calls), 1_000):
            call = read_call(None, {"batch": calls[start : start + 1_000]}, received, str)
            assert call.refused == []
            publish(client, call.events)


def same(company: Any, raw: str, simple: str, *, rows: int = 3) -> list[dict[str, Any]]:
    """Return what both queries answer, after seeing that it is the same and not nothing."""
    answers = [sorted(map(repr, company.query(sql))) for sql in (raw, simple)]
    assert answers[0] == answers[1]
    assert len(answers[0]) >= rows
    return list(company.query(simple))


def test_s1_01_the_source_tables_can_be_asked(company: Any) -> None:
    for table, columns in {
        "users": "user_id, identity",
        "sign_up": "user_id, time, utm_source, utm_medium, utm_campaign, utm_term, utm_content, referrer, page_url",
        "salesforce.contact": "id, email, title, accountid, cbit__clearbit__c, is_deleted",
        "salesforce.lead": "id, email, status, company, isconverted",
        "salesforce.account": "id, type, mrr__c, arr__c, industry",
        "salesforce.opportunity": "id, stagename, amount, accountid, iswon",
        "salesforce.task": "id, subject, whoid, whatid, isclosed",
        "salesforce.cbit__clearbit__c": "id, cbit__role__c, cbit__company_industry__c",
    }.items():
        assert company.query(f"SELECT {columns} FROM {table} LIMIT 1"), table
    identities = {r["identity"] for r in company.query("SELECT identity FROM users WHERE contact_id IS NOT NULL")}
    wanted = {(r["Email"] or "").strip().lower() or None for r in company.org.records("Contact")}
    assert identities - {None} == wanted - {None}


def test_s1_02_the_raw_join_path_holds_for_contacts_and_for_leads(company: Any) -> None:
    columns = "users.user_id, cbit.id AS cbit_id, {} AS record_id"
    contacts = company.query(f"SELECT {columns.format('contact.id')}, account.id AS account_id {RAW_CONTACTS}")
    assert len(contacts) > 30
    for row in contacts:
        record = company.org.get("Contact", row["record_id"])
        assert (row["cbit_id"], row["account_id"]) == (record["cbit__Clearbit__c"], record["AccountId"])
    leads = company.query(
        f"{OF_LEADS} SELECT {columns.format('lead.id')} FROM sign_up JOIN users USING (user_id) "
        "JOIN salesforce.lead ON users.identity = lower(trim(lead.email)) AND NOT lead.is_deleted AND NOT isconverted "
        "JOIN salesforce.cbit__clearbit__c AS cbit ON lead.cbit__clearbit__c = cbit.id"
    )
    assert len(leads) > 5
    for row in leads:
        assert row["cbit_id"] == company.org.get("Lead", row["record_id"])["cbit__Clearbit__c"]


def test_s1_03_each_sign_up_with_role_industry_and_yearly_revenue(company: Any) -> None:
    raw = f"""SELECT users.user_id, sign_up.time, cbit.cbit__employment_role__c AS role,
        cbit.cbit__employment_seniority__c AS seniority, cbit.cbit__company_category_industry__c AS industry,
        cbit.cbit__company_category_sector__c AS sector, account.mrr__c * 12 AS arr
        {RAW_CONTACTS} WHERE account.type = 'Paying Customer'"""
    simple = f"""SELECT users.user_id, sign_up.time, sfdc_contact_cbit_employment_role AS role,
        sfdc_contact_cbit_employment_seniority AS seniority, sfdc_contact_cbit_company_category_industry AS industry,
        sfdc_contact_cbit_company_category_sector AS sector, sfdc_account_arr AS arr
        {SIMPLE} WHERE sfdc_account_account_type = 'Paying Customer'"""
    rows = same(company, raw, simple)
    assert all(row["arr"] is not None for row in rows)
    assert {row["role"] for row in rows} > {None}


def test_s1_03_the_same_for_leads(company: Any) -> None:
    raw = f"""{OF_LEADS} SELECT users.user_id, sign_up.time, cbit.cbit__role__c AS role, lead.status AS status
        FROM sign_up JOIN users ON sign_up.user_id = users.user_id
        JOIN salesforce.lead ON users.identity = lower(trim(lead.email)) AND NOT lead.is_deleted AND NOT isconverted
        LEFT JOIN salesforce.cbit__clearbit__c AS cbit ON lead.cbit__clearbit__c = cbit.id"""
    simple = f"{OF_LEADS} SELECT users.user_id, sign_up.time, sfdc_lead_cbit_role AS role, sfdc_lead_status AS status {SIMPLE}"
    assert {row["role"] for row in same(company, raw, simple)} - {None}


def test_s1_03_revenue_on_the_opportunity_instead_of_the_account(company: Any) -> None:
    raw = f"""WITH mine AS (
          SELECT role.contactid, deal.id, deal.amount, deal.iswon FROM salesforce.opportunitycontactrole AS role
          JOIN salesforce.opportunity AS deal ON role.opportunityid = deal.id
          WHERE NOT role.is_deleted AND NOT deal.is_deleted
        ), candidates AS (
          SELECT DISTINCT * FROM mine UNION
          SELECT contact.id, deal.id, deal.amount, deal.iswon FROM salesforce.contact
          JOIN salesforce.opportunity AS deal ON deal.accountid = contact.accountid AND NOT deal.is_deleted
          WHERE contact.id NOT IN (SELECT contactid FROM mine)
        )
        SELECT users.user_id, coalesce(sum(candidates.amount) FILTER (iswon), 0) AS won
        {RAW_CONTACTS} LEFT JOIN candidates ON candidates.contactid = contact.id GROUP BY 1"""
    simple = f"SELECT users.user_id, sfdc_opportunity_won_amount AS won {SIMPLE}"
    found = [{(r["user_id"], Decimal(r["won"])) for r in company.query(sql)} for sql in (raw, simple)]
    assert found[0] == found[1]
    assert sum(won > 0 for _, won in found[0]) > 3


BUCKETS = """CASE WHEN {title} ILIKE '%product%' THEN 'Product' WHEN {title} ILIKE '%market%' THEN 'Marketing'
    WHEN {title} ILIKE '%engineer%' OR {title} ILIKE '%developer%' THEN 'Engineering' ELSE 'Other' END"""


def test_s1_04_titles_are_counted_before_anybody_makes_roles_of_them(company: Any) -> None:
    raw = f"SELECT contact.title AS title, count(*) AS n {RAW_CONTACTS} GROUP BY title"
    census = same(company, raw, f"SELECT sfdc_contact_title AS title, count(*) AS n {SIMPLE} GROUP BY title", rows=10)
    signed_up = {row["id"] for row in company.query(f"SELECT contact.id {RAW_CONTACTS}")}
    titles = Counter(r["Title"] for r in company.org.records("Contact") if r["Id"] in signed_up)
    assert {row["title"]: row["n"] for row in census} == titles


def test_s1_05_titles_become_roles_by_case_and_by_clearbit_s_own_categories(company: Any) -> None:
    def both(raw_column: str, column: str) -> tuple[str, str]:
        return (
            f"SELECT {raw_column} AS role, count(*) AS n {RAW_CONTACTS} GROUP BY 1",
            f"SELECT {column} AS role, count(*) AS n {SIMPLE} GROUP BY 1",
        )

    by_case = same(company, *both(BUCKETS.format(title="contact.title"), BUCKETS.format(title="sfdc_contact_title")))
    assert {row["role"] for row in by_case} >= {"Product", "Engineering", "Other"}
    same(company, *both("cbit.cbit__role__c", "sfdc_contact_cbit_role"))


@pytest.mark.parametrize(
    ("raw_bucket", "bucket"),
    [
        ("cbit.cbit__company_metrics_employees__c", "sfdc_contact_cbit_company_metrics_employees"),
        ("cbit.cbit__company_category_industry__c", "sfdc_contact_cbit_company_category_industry"),
    ],
    ids=["company size", "industry"],
)
def test_s1_06_revenue_per_role_and_company(raw_bucket: str, bucket: str, company: Any) -> None:
    numbers = "count(*) AS people, avg({arr}) AS average_rev, sum({arr}) AS total_rev"
    raw = f"""SELECT cbit.cbit__role__c AS role, {raw_bucket} AS bucket,
        {numbers.format(arr="account.arr__c")} {RAW_CONTACTS} WHERE account.type = 'Paying Customer' GROUP BY 1, 2"""
    simple = f"""SELECT sfdc_contact_cbit_role AS role, {bucket} AS bucket,
        {numbers.format(arr="sfdc_account_arr")} {SIMPLE}
        WHERE sfdc_account_account_type = 'Paying Customer' GROUP BY 1, 2 ORDER BY average_rev DESC"""
    assert any(row["total_rev"] for row in same(company, raw, simple))


def test_s1_13_contacts_account_updates_and_touches_come_by_themselves(found: Found) -> None:
    company = found(build=False)
    account = company.org.insert("Account", {"Name": "Acme", "Industry": "Software"})
    company.sync()
    company.clock.advance(30)
    company.org.insert("Contact", {"LastName": "Reyes", "AccountId": account, "Email": "b@example.com"})
    company.org.update("Account", account, {"Industry": "Media"})
    send(company, sign_ups(["b@example.com"], "Sign Up"))
    company.sync()
    [person] = company.query("SELECT user_id, account_id, sfdc_account_industry AS industry FROM users")
    assert (person["account_id"], person["industry"]) == (account, "Media")
    of_them = f"WHERE user_id = '{person['user_id']}'"
    assert [row["utm_source"] for row in company.query(f"SELECT utm_source FROM touches {of_them}")] == ["ads"]
    names = [row["name"] for row in company.query(f"SELECT name FROM events {of_them} ORDER BY name")]
    assert names == ["Contact Created", "Identified", "Page Viewed", "Sign Up"]
    updates = company.query("SELECT record_id FROM events WHERE name = 'Account Updated'")
    assert [row["record_id"] for row in updates] == [account]


UPDATES = {
    "Contact": ("Title", "Chief Pigeon Officer", "SELECT sfdc_contact_title FROM users WHERE contact_id = '{}'"),
    "Lead": ("Status", "Nurturing", "SELECT sfdc_lead_status FROM users WHERE lead_id = '{}'"),
    "Task": ("Subject", "Call the pigeons", "SELECT subject FROM salesforce.task WHERE id = '{}'"),
    "Opportunity": (
        "StageName",
        "Negotiation/Review",
        "SELECT DISTINCT sfdc_opportunity_stage FROM users WHERE contact_id = '{contact}'",
    ),
    "Account": ("Industry", "Media", "SELECT DISTINCT sfdc_account_industry FROM users WHERE account_id = '{}'"),
}
NAMES = {"Opportunity": "Opportunity Stage Changed"}


def test_s1_09_s1_10_visits_sign_ups_and_revenue_per_campaign(company: Any) -> None:
    contacts = addresses(company, "Contact")
    leads = [one for one in addresses(company, "Lead") if one not in contacts]
    account_of = {r["Email"].strip().lower(): r["AccountId"] for r in company.org.records("Contact") if r["Email"]}
    won: dict[str, Decimal] = {}
    for deal in company.org.records("Opportunity"):
        if deal["IsWon"] and not deal["IsDeleted"] and deal["AccountId"]:
            won[deal["AccountId"]] = won.get(deal["AccountId"], Decimal(0)) + Decimal(str(deal["Amount"] or 0))
    expected = {}
    for campaign in CAMPAIGNS:
        came = [one for one in (*contacts, *leads) if CAMPAIGNS[crc32(one.encode()) % 4] == campaign]
        known = [one for one in came if crc32(one.encode()) % 5]
        signed_up = [one for one in known if one in contacts]
        accounts = {account_of[one] for one in signed_up} - {None}
        expected[campaign] = (
            len(came),
            len(came),
            len(signed_up),
            len(accounts),
            sum(account in won for account in accounts),
            sum(won.get(account, Decimal(0)) for account in accounts),
        )
    rows = {row.pop("campaign"): tuple(row.values())[:6] for row in answered(company, "campaigns")}
    assert rows == expected
    assert sum(row[-1] for row in rows.values()) > 0


def answered(company: Any, name: str) -> list[dict[str, Any]]:
    """Ask a named report."""
    with open_reader(company.settings.store.url) as reader:
        return ask(reader, fitted(reader, report(name)).sql)


@dataclass(frozen=True)
class SignedUp:
    """Somebody who signed up, as the org knows them."""

    title: str
    account: str | None
    industry: str
    arr: Decimal | None
    month: str


@pytest.fixture(scope="module")
def signed_up(company: Any) -> list[SignedUp]:
    """Everybody who signed up: from the org and the calls of the browsers, not from the store."""
    contacts = {
        r["Email"].strip().lower(): r for r in company.org.records("Contact") if r["Email"] and not r["IsDeleted"]
    }
    accounts = {r["Id"]: r for r in company.org.records("Account")}
    found = []
    for email in addresses(company, "Contact"):
        luck = crc32(email.encode())
        if luck % 5:
            person = contacts[email]
            account = accounts.get(person["AccountId"], {"Industry": None, "ARR__c": None})
            arr = None if account["ARR__c"] is None else Decimal(str(account["ARR__c"]))
            told = (person["Title"] or "(unknown)", person["AccountId"], account["Industry"] or "(unknown)", arr)
            found.append(SignedUp(*told, month=f"2026-01-{1 + luck % 28:02d}"))
    return found


def grouped(people: list[SignedUp], key: Callable[[SignedUp], Any]) -> dict[Any, tuple[int, int, Any, Any]]:
    """(people, accounts, ARR once for each account, ARR once for each person) by a key."""
    found = {}
    for value in {key(one) for one in people}:
        of = [one for one in people if key(one) == value]
        accounts = {one.account: one.arr for one in of if one.account is not None}
        arr, each = [a for a in accounts.values() if a is not None], [one.arr for one in of if one.arr is not None]
        found[value] = (len(of), len(accounts), sum(arr) if arr else None, sum(each) if each else None)
    return found


def shown(rows: list[dict[str, Any]], *keys: str) -> dict[Any, tuple[Any, ...]]:
    columns = ("people", "accounts", "arr_by_account", "arr_by_person")
    return {
        tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: tuple(row[c] for c in columns)
        for row in rows
    }


def dearest(rows: list[dict[str, Any]], key: str, count: int) -> list[str]:
    """The values of a column whose rows have the most ARR together: what is drawn first."""
    total: Counter[str] = Counter()
    for row in rows:
        total[row[key]] += row["arr_by_account"]
    return [value for value, _ in total.most_common(count)]


def test_s1_07_who_signs_up_by_industry(company: Any, signed_up: list[SignedUp]) -> None:
    expected = grouped(signed_up, lambda one: one.industry if one.account else "(no account)")
    assert shown(answered(company, "sign-ups"), "industry") == expected


def test_s1_07_the_job_titles_of_those_who_sign_up(company: Any, signed_up: list[SignedUp]) -> None:
    rows = answered(company, "sign-ups-by-title")
    assert shown(rows, "title") == grouped(signed_up, lambda one: one.title)
    paying = {
        title: len({one.account for one in signed_up if one.title == title and (one.arr or 0) > 0})
        for title in {one.title for one in signed_up}
    }
    assert {row["title"]: row["accounts_that_pay"] for row in rows} == paying
    assert sum(paying.values()) > 3


def test_s1_07_how_much_those_who_sign_up_pay(company: Any, signed_up: list[SignedUp]) -> None:
    def pays(one: SignedUp) -> str:
        if one.account is None:
            return "(no account)"
        steps = [(200_000, "200,000 and more"), (50_000, "50,000 to 200,000"), (10_000, "10,000 to 50,000")]
        named = [name for least, name in steps if (one.arr or 0) >= least]
        return named[0] if named else "less than 10,000" if (one.arr or 0) > 0 else "(nothing)"

    assert shown(answered(company, "sign-ups-by-arr"), "pays") == grouped(signed_up, pays)


def test_s1_07_sign_ups_by_month_have_each_account_once(company: Any, signed_up: list[SignedUp]) -> None:
    row, *later = answered(company, "sign-ups-by-month")  # all of them came in January
    [(people, accounts, arr, _)] = grouped(signed_up, lambda _: "").values()
    paying = {one.account for one in signed_up if (one.arr or 0) > 0}
    assert row == {
        "month": "2026-01-01",
        "people": people,
        "accounts": accounts,
        "accounts_that_pay": len(paying),
        "arr_by_account": arr,
    }
    assert sum(one[column] for one in later for column in row.keys() - {"month"}) == 0


@pytest.mark.parametrize(
    ("name", "key"), [("channels", "channel"), ("campaigns", "campaign"), ("landing-pages", "landing_page")]
)
def test_s1_07_s1_20_where_people_came_from_has_revenue_once_per_account_and_per_person(
    name: str, key: str, company: Any, signed_up: list[SignedUp]
) -> None:
    """Who came has signed up, or has no account: what their accounts pay is what those of the sign-ups do."""
    rows = answered(company, name)
    [(_, _, once, each)] = grouped(signed_up, lambda _: "").values()
    assert sum(row["arr_by_person"] or 0 for row in rows) == each
    if len(rows) == 1:
        assert rows[0]["arr_by_account"] == once
    else:
        assert sum(row["arr_by_account"] or 0 for row in rows) > once  # an account that came by two counts for both
    assert all(row[key] for row in rows)
    if name == "landing-pages":
        [row] = rows
        assert row["arr_for_each_sign_up"] == round(once / row["sign_ups"], 2)


def test_s1_07_who_uses_the_product_and_who_has_stopped(company: Any) -> None:
    kinds = {r["Id"]: r["Type"] for r in company.org.records("Account")}
    account_of = {r["Email"].strip().lower(): r["AccountId"] for r in company.org.records("Contact") if r["Email"]}
    [now] = company.query("SELECT (now() AT TIME ZONE 'UTC')::DATE AS today")
    today = date.fromisoformat(now["today"])
    people: dict[str, list[date]] = {}
    for email in {*addresses(company, "Contact"), *addresses(company, "Lead")}:
        account = account_of.get(email) if crc32(email.encode()) % 5 else None
        kind = "(no account)" if account is None else kinds[account] or "(unknown)"
        people.setdefault(kind, []).append(date(2026, 1, 1 + crc32(email.encode()) % 28))
    expected = {
        kind: (
            len(days),
            sum((today - day).days <= 30 for day in days),
            sum(30 < (today - day).days <= 120 for day in days),
        )
        for kind, days in people.items()
    }
    rows = answered(company, "product-use")
    assert {r["account_type"]: (r["people"], r["active_30d"], r["stopped"]) for r in rows} == expected


def test_s1_18_title_by_industry_of_sign_ups_that_pay_with_arr(company: Any, signed_up: list[SignedUp]) -> None:
    expected = grouped([one for one in signed_up if (one.arr or 0) > 0], lambda one: (one.title, one.industry))
    rows = answered(company, "who-buys")
    assert shown(rows, "title", "industry") == expected
    assert len(expected) > 3
    assert [row["arr_by_account"] for row in rows] == sorted((row["arr_by_account"] for row in rows), reverse=True)
    # Without SQL, and as a picture.
    done = company.shell.run("report", "who-buys", "--csv")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, len(rows) + 1)
    done = company.shell.run("report", "who-buys", "--svg", "-")
    drawn = fromstring(done.stdout)
    texts = {"".join(one.itertext()) for one in drawn.iter() if one.tag.endswith("}text")}
    assert {"ARR by account", *dearest(rows, "title", 3)} <= texts


@pytest.mark.parametrize("name", ["channels", "landing-pages", "sign-ups"])
def test_s1_07_every_report_adds_up_to_the_same_people_and_revenue(name: str, company: Any) -> None:
    rows = answered(company, name)
    [signed_up] = company.query("SELECT count(DISTINCT user_id) AS n FROM sign_up")
    counted = "people" if name == "sign-ups" else "sign_ups"
    assert sum(row[counted] for row in rows) == signed_up["n"]
    [paid] = company.query(
        """SELECT sum(sfdc_opportunity_won_amount) AS amount FROM accounts
           WHERE account_id IN (SELECT users.account_id FROM users JOIN sign_up USING (user_id))"""
    )
    assert sum(row["won_amount"] for row in rows) == paid["amount"] > 0


@pytest.mark.parametrize("name", UPDATES)
def test_s1_12_an_update_changes_the_row_and_makes_exactly_one_event(name: str, found: Found) -> None:
    company = found(build=False)
    org = company.org
    account = org.insert("Account", {"Name": "Acme", "Industry": "Software"})
    contact = org.insert("Contact", {"LastName": "Reyes", "AccountId": account, "Email": "b@example.com"})
    deal = org.insert(
        "Opportunity",
        {"Name": "Acme 2026", "AccountId": account, "StageName": "Prospecting", "CloseDate": "2026-06-01"},
    )
    org.insert("OpportunityContactRole", {"OpportunityId": deal, "ContactId": contact})
    lead = org.insert("Lead", {"LastName": "Diaz", "Company": "Initech", "Status": "New"})
    task = org.insert("Task", {"Subject": "Call", "WhoId": contact, "Status": "Not Started"})
    records = {"Contact": contact, "Lead": lead, "Task": task, "Opportunity": deal, "Account": account}
    company.sync()
    company.clock.advance(30)
    field, value, ask = UPDATES[name]
    known = {r["event_id"] for r in company.query("SELECT event_id FROM events")}

    org.update(name, records[name], {field: value})
    report = company.sync()

    [row] = company.query(ask.format(records[name], contact=contact))
    assert list(row.values()) == [value]
    events = [e for e in company.query("SELECT * FROM events") if e["event_id"] not in known]
    mine = [e for e in events if e["record_id"] == records[name]]
    assert [e["name"] for e in mine] == [NAMES.get(name, f"{name} Updated")]
    changes = company.query(f"SELECT field, new_value FROM changes WHERE event_id = '{mine[0]['event_id']}'")
    assert {"field": field, "new_value": value} in changes
    assert report.events_written == len(events)
    assert_equal(company)


def test_s1_14_a_user_carries_contact_or_lead_account_and_opportunity_and_every_change_is_an_event(
    company: Any,
) -> None:
    kinds = company.query(
        """SELECT contact_id IS NOT NULL AS contact, count(sfdc_contact_name) AS contacts, count(sfdc_lead_name) AS leads,
           count(sfdc_account_name) AS accounts, count(sfdc_opportunity_stage) AS deals, count(*) AS n
           FROM users WHERE NOT is_deleted AND (contact_id IS NULL) <> (lead_id IS NULL) GROUP BY 1"""
    )
    people, leads = sorted(kinds, key=lambda row: not row["contact"])
    assert (people["contacts"], people["leads"]) == (people["n"], 0)
    assert people["accounts"] > people["n"] / 2
    assert people["deals"] > 5
    assert (leads["contacts"], leads["leads"]) == (0, leads["n"])
    changed = company.query("SELECT event_id FROM changes GROUP BY 1")
    named = company.query("SELECT event_id FROM events WHERE event_id IN (SELECT event_id FROM changes)")
    assert len(changed) == len(named) > 10


def test_s3_03_what_a_browser_did_before_the_sign_in_is_the_persons(company: Any) -> None:
    joined = company.query(
        """SELECT count(*) AS n, count(DISTINCT page_viewed.user_id) AS people FROM page_viewed
           JOIN sign_up ON sign_up.user_id = page_viewed.user_id WHERE page_viewed.time <= sign_up.time"""
    )
    [signed_up] = company.query("SELECT count(*) AS n, count(DISTINCT user_id) AS people FROM sign_up")
    assert joined == [signed_up]
    assert signed_up["n"] == signed_up["people"] > 30
    strangers = company.query("SELECT user_id FROM users WHERE starts_with(user_id, 'browser-')")
    visits = [one for one in addresses(company, "Contact") if not crc32(one.encode()) % 5]
    assert len(strangers) >= len(visits) > 3
    whose = "SELECT kind, count(*) AS n FROM identities WHERE user_id IN (SELECT user_id FROM sign_up) GROUP BY 1"
    kinds = {row["kind"]: row["n"] for row in company.query(whose)}
    assert kinds["anonymous_id"] == kinds["product_user_id"] == signed_up["n"]


def test_what_the_product_tells_of_its_users_stands_beside_what_the_crm_tells(company: Any) -> None:
    emails = {one: crc32(one.encode()) for name in ("Contact", "Lead") for one in addresses(company, name)}
    expected = {one: (PLANS[luck % 2], str(luck % 9)) for one, luck in emails.items() if luck % 5}
    rows = company.query("SELECT identity, plan, company_seat_count AS seats FROM users WHERE plan IS NOT NULL")
    assert {row["identity"]: (row["plan"], row["seats"]) for row in rows} == expected
    assert company.query(
        """SELECT sfdc_account_account_type, plan, count(*) AS people, sum(CAST(company_seat_count AS INTEGER)) AS seats
           FROM users WHERE plan IS NOT NULL GROUP BY ALL"""
    )
    email, luck = next((one, emails[one]) for one in sorted(expected))
    [told] = explain_row(company.settings, email, only="plan").properties
    assert (told.value, told.object, told.record_id, told.field) == (PLANS[luck % 2], "Product", f"user-{luck}", "plan")
    assert told.version == f"2026-01-{1 + luck % 28:02d}T09:00:00.000Z"
    assert explain_row(company.settings, email, only="plan", show_values=False).properties[0].value is None
    named = {row["property"]: row for row in catalog(company.settings) if row["object"] == "product"}
    assert {name: (row["field"], row["type"]) for name, row in named.items()} == {
        "plan": ("plan", "text"),
        "company_seat_count": ("company.seatCount", "text"),
    }


def test_s1_15_properties_are_named_as_published(company: Any) -> None:
    columns = {row["column_name"]: row["column_type"] for row in company.query("DESCRIBE users")}
    wanted = {
        "sfdc_account_cbit_company_industry": "VARCHAR",
        "sfdc_account_arr": "DECIMAL",
        "sfdc_account_account_type": "VARCHAR",
        "sfdc_contact_cbit_role": "VARCHAR",
        "sfdc_account_cbit_company_size": "DECIMAL",
        "sfdc_contact_title": "VARCHAR",
        "sfdc_opportunity_stage": "VARCHAR",
    }
    assert {name: columns.get(name, "not there").partition("(")[0] for name in wanted} == wanted


def test_s1_16_one_join_answers_what_five_tables_answer(company: Any) -> None:
    raw = f"""SELECT company.cbit__company_industry__c AS industry, count(users.user_id) AS people,
        sum(account.arr__c) AS total_rev {RAW_CONTACTS} GROUP BY 1"""
    simple = f"""SELECT users.sfdc_account_cbit_company_industry AS industry, count(users.user_id) AS people,
        sum(users.sfdc_account_arr) AS total_rev {SIMPLE} GROUP BY 1"""
    assert any(row["total_rev"] for row in same(company, raw, simple))


def test_s1_17_attribution_per_campaign_with_one_join(company: Any) -> None:
    raw = f"""SELECT utm_campaign, count(DISTINCT users.user_id) AS total_users {RAW_CONTACTS}
        WHERE account.type = 'Paying Customer' AND cbit.cbit__role__c = 'Product'
          AND (company.cbit__company_industry__c = 'Software' OR company.cbit__company_industry__c = 'SaaS')
          AND company.cbit__company_size__c >= 20 GROUP BY utm_campaign"""
    simple = f"""SELECT utm_campaign, count(DISTINCT users.user_id) AS total_users {SIMPLE}
        WHERE sfdc_account_account_type = 'Paying Customer' AND sfdc_contact_cbit_role = 'Product'
          AND (sfdc_account_cbit_company_industry = 'Software' OR sfdc_account_cbit_company_industry = 'SaaS')
          AND sfdc_account_cbit_company_size >= 20 GROUP BY utm_campaign"""
    same(company, raw, simple, rows=1)
    everybody = "WHERE sfdc_account_account_type = 'Paying Customer' AND sfdc_contact_cbit_role = 'Product'"
    rows = company.query(f"SELECT utm_campaign, count(*) AS n {SIMPLE} {everybody} GROUP BY 1")
    assert sum(row["n"] for row in rows) > 1


def test_s1_20_revenue_counts_once_per_account_or_once_per_person_as_asked(company: Any) -> None:
    accounts = {r["Id"]: r["ARR__c"] for r in company.org.records("Account")}
    people = Counter(
        r["account_id"]
        for r in company.query("SELECT account_id FROM users WHERE NOT is_deleted AND account_id IS NOT NULL")
    )
    arr = {i: Decimal(str(accounts[i] or 0)) for i in people}
    [per_person] = company.query("SELECT sum(sfdc_account_arr) AS arr FROM users WHERE NOT is_deleted")
    assert per_person["arr"] == sum(arr[i] * n for i, n in people.items())
    [once] = company.query(
        "SELECT sum(sfdc_account_arr) AS arr FROM accounts WHERE people_count > 0 AND NOT is_deleted"
    )
    assert once["arr"] == sum(arr.values())
    [by_hand] = company.query(
        """SELECT sum(arr) AS arr FROM (SELECT account_id, any_value(sfdc_account_arr) AS arr FROM users
           WHERE NOT is_deleted AND account_id IS NOT NULL GROUP BY 1)"""
    )
    assert by_hand["arr"] == once["arr"]
    assert per_person["arr"] > once["arr"] > 0


def test_x_01_one_row_per_user_and_one_event_per_change_however_often_an_entry_comes(found: Found) -> None:
    company = found(accounts=8)
    company.sync()
    company.live(30)
    company.sync()
    tables = ("users", "accounts", "events", "changes", "identities", "captures", "headrace.memberships")
    before = {t: company.query(f"SELECT * FROM {t} ORDER BY ALL") for t in tables}
    with connect(company.settings.redis.url) as client:
        for stream in [s.name for s in inspect.streams(client)]:
            entries = client.xrange(stream)
            client.xgroup_setid(stream, "store", "0")  # delivered again from the beginning
            for _, fields in sorted(entries, key=lambda entry: hash(entry[1][b"id"])):
                client.xadd(stream, fields)  # and published again, in any order

    report = company.sync()

    assert (report.captures_stored, report.events_written, report.users_written) == (0, 0, 0)
    assert {t: company.query(f"SELECT * FROM {t} ORDER BY ALL") for t in tables} == before
    [counted] = company.query("SELECT count(*) AS n, count(DISTINCT user_id) AS m FROM users")
    assert counted["n"] == counted["m"]
    assert_equal(company)


def test_x_05_every_object_is_covered_and_any_custom_one(found: Found) -> None:
    company = found(accounts=6, HEADRACE_OBJECTS__Gadget__c__ENABLED="true")
    fields = (
        FieldDef("Id", "id"), FieldDef("IsDeleted", "boolean", default=False), FieldDef("Name", "string", length=80),
        FieldDef("Colour__c", "string", length=40, custom=True), FieldDef("Weight__c", "double", precision=18, scale=4, custom=True),
        FieldDef("CreatedDate", "datetime"), FieldDef("CreatedById", "reference", reference_to=("User",)),
        FieldDef("LastModifiedDate", "datetime"), FieldDef("LastModifiedById", "reference", reference_to=("User",)),
        FieldDef("SystemModstamp", "datetime"),
    )  # fmt: skip
    company.org.define(ObjectDef("Gadget__c", "Gadget", "Gadgets", "a1G", fields, custom=True))
    gadget = company.org.insert("Gadget__c", {"Name": "G-1", "Colour__c": "red", "Weight__c": 1.25})
    company.sync()
    company.clock.advance(10)
    company.org.update("Gadget__c", gadget, {"Colour__c": "blue"})
    company.live(30)
    company.sync()

    assert_equal(company)
    [row] = company.query("SELECT * FROM salesforce.gadget__c")
    assert (row["id"], row["colour__c"], row["weight__c"]) == (gadget, "blue", Decimal("1.25"))
    names = [r["name"] for r in company.query(f"SELECT name FROM events WHERE record_id = '{gadget}' ORDER BY time")]
    assert names == ["Gadget Created", "Gadget Updated"]
    [change] = company.query(f"SELECT field, old_value, new_value FROM changes WHERE record_id = '{gadget}'")
    assert change == {"field": "Colour__c", "old_value": "red", "new_value": "blue"}
    for name in ("Account", "Contact", "Lead", "Opportunity", "Task", "CampaignMember", "OpportunityContactRole"):
        assert company.query(f"SELECT 1 FROM salesforce.{name.lower()} LIMIT 1"), name
