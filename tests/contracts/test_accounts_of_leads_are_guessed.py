"""S3-07: to which account a lead may belong is a guess, says how sure it is, and goes when nothing speaks for it."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from batches import NOW, Stream, record, schema_of
from deals import SHAPE, Crm

from consumers.apply import Flattener
from consumers.rules import Rules
from integration.core import catalog
from integration.store import marts, tables
from integration.store.answers import ask
from integration.store.attribution import Attribution
from integration.store.protocol import Store

pytestmark = pytest.mark.slow_on("clickhouse")

OBJECTS = {
    "Account": {"Name": "string", "Website": "url"},
    "Contact": {"AccountId": "reference", "Email": "email"},
    "Lead": {
        "Email": "email", "Company": "string", "IsConverted": "boolean", "ConvertedAccountId": "reference",
        "ConvertedContactId": "reference",
    },
}  # fmt: skip
SCHEMAS = {name: schema_of(name, fields) for name, fields in OBJECTS.items()}
BODIES = {one.schema_id: catalog.to_json(one) for one in SCHEMAS.values()}
ACCOUNTS = {
    "acme": ("Acme, Inc.", "https://www.Acme.example/about?x=1"),
    "acme-fr": ("ACME France S.A.", "acme.example:8080"),
    "zenith": ("Zenith GmbH & Co. KG", None),
    "alone": ("Alone Ltd", "http://alone.example"),
    "gone": ("Gone", "gone.example"),
    "free": ("Free Riders", "gmail.com"),
    "blank": (None, ""),
    "hidden": ("[not provided]", None),
}
CONTACTS = [
    ("zenith", "a@zenith.example"),
    ("zenith", "b@Zenith.example "),
    ("free", "x@gmail.com"),
    (None, "y@loose.example"),
]
LEADS = {
    # e-mail, company -> account, how, hundredths, candidates
    "by website": ("kim@alone.example", "Something else", [("alone", "website", 90, 1)]),
    "by website and name": (" Kim@ALONE.example", "alone limited", [("alone", "website", 95, 1)]),
    "two of one domain": ("k@acme.example", None, [("acme", "website", 45, 2), ("acme-fr", "website", 45, 2)]),
    "the name decides": ("k@acme.example", "ACME", [("acme", "website", 47, 2), ("acme-fr", "website", 45, 2)]),
    "by contacts": ("c@zenith.example", "Z", [("zenith", "contacts", 80, 1)]),
    "by contacts and name": ("c@zenith.example", "Zenith", [("zenith", "contacts", 85, 1)]),
    "by name": ("z@elsewhere.example", "zenith gmbh", [("zenith", "company", 60, 1)]),
    "by a name with other marks": (None, "Zenith, GmbH & Co. KG.", [("zenith", "company", 60, 1)]),
    "free mail": ("someone@gmail.com", None, []),
    "free mail, but a name": ("someone@GMAIL.com", "Free-Riders", [("free", "company", 60, 1)]),
    "account is deleted": ("k@gone.example", "Gone", []),
    "contact without account": ("k@loose.example", None, []),
    "subdomain": ("k@mail.alone.example", None, []),
    "not provided": (None, "[not provided]", []),
    "no address": ("nobody", "", []),
    "nothing": (None, None, []),
}  # fmt: skip


def test_s3_07_domains_and_names_speak_for_an_account(store: Store) -> None:
    crm = Crm()
    for name, (company, website) in ACCOUNTS.items():
        crm.add("Account", name, name=company, website=website, is_deleted=name == "gone")
    for number, (account, email) in enumerate(CONTACTS):
        crm.add("Contact", f"contact-{number}", accountid=account, email=email)
    crm.add("Contact", "left", accountid="alone", email="l@loose.example", is_deleted=True)
    for name, (email, company, _) in LEADS.items():
        crm.add("Lead", name, email=email, company=company, isconverted=False)
        crm.person(f"user {name}", name)
    crm.add("Lead", "converted", email="k@alone.example", isconverted=True)
    crm.add("Lead", "deleted", email="k@alone.example", isconverted=False, is_deleted=True)
    crm.write(store)
    [mart] = [one for one in marts.MARTS if one.name == "headrace.lead_accounts"]
    with store.transaction() as tx:
        tx.append(mart.name, tables.FIXED[mart.name], tx.rows(mart.everything(SHAPE)))
    rows = ask(store, "SELECT * FROM lead_account_guesses ORDER BY lead_id, place")
    found: dict[str, list[Any]] = {name: [] for name in LEADS}
    for row in rows:
        assert row["user_id"] == f"user {row['lead_id']}"
        found[row["lead_id"]].append((row["account_id"], row["how"], int(row["confidence"] * 100), row["candidates"]))
        assert row["place"] == len(found[row["lead_id"]])
        assert row["confidence"] == Decimal(int(row["confidence"] * 100)) / 100
    assert found == {name: expected for name, (_, _, expected) in LEADS.items()}


@pytest.mark.slow_on("clickhouse")
def test_s3_07_a_guess_goes_with_what_spoke_for_it_and_reaches_no_person(store: Store) -> None:
    stream, wanted = Stream(), Attribution()

    def worker(rules: Attribution) -> Flattener:
        return Flattener(store, Rules({}, {}, attribution=rules), now=lambda: NOW, fetch_schema=BODIES.get)

    def seen(name: str, number: int, hour: int, **fields: Any) -> None:
        flattener.apply([stream.entry(SCHEMAS, name, number, f"02-01T{hour:02d}:00:00", **fields)])

    def guesses(one: Flattener | None = None) -> list[tuple[str, str]]:
        while (one or flattener).marts.refresh():
            pass
        rows = ask(store, "SELECT account_id, how FROM lead_account_guesses ORDER BY place")
        return [(row["account_id"], row["how"]) for row in rows]

    flattener = worker(wanted)
    flattener.announce(SCHEMAS.values())
    acme, zenith = record("Account", 1), record("Account", 2)
    seen("Account", 1, 1, Name="Acme", Website="acme.example")
    seen("Account", 2, 1, Name="Zenith", Website=None)
    seen("Lead", 1, 1, Email="kim@acme.example", Company=None, IsConverted=False)
    assert guesses() == [(acme, "website")]
    [person] = ask(store, "SELECT user_id, account_id, lead_id FROM users")
    assert (person["account_id"], person["lead_id"]) == (None, record("Lead", 1))
    seen("Contact", 1, 2, AccountId=zenith, Email="lee@acme.example")
    assert guesses() == [(acme, "website"), (zenith, "contacts")]
    seen("Account", 1, 3, Name="Acme", Website="acme.test")
    assert guesses() == [(zenith, "contacts")]
    assert guesses(worker(replace(wanted, guess_accounts=False))) == []
    assert guesses(worker(replace(wanted, free_mail_domains=["Acme.example"]))) == []
    flattener = worker(wanted)
    assert guesses() == [(zenith, "contacts")]
    seen("Contact", 1, 4, AccountId=acme, Email="lee@acme.example")
    assert guesses() == [(acme, "contacts")]
    seen("Contact", 1, 5, AccountId=acme, Email="lee@private.example")
    assert guesses() == []
    for number in range(3, 22):
        seen("Account", number, 6, Name=f"Branch {number}", Website="acme.example")
    seen("Account", 2, 6, Name="Zenith", Website="https://acme.example/")
    assert len(guesses()) == 20
    seen("Account", 1, 6, Name="Acme", Website="acme.example/")
    assert guesses() == []
    seen("Account", 1, 7, Name="Acme", Website=None)
    assert (zenith, "website") in guesses()
    converted = {"IsConverted": True, "ConvertedAccountId": acme, "ConvertedContactId": record("Contact", 1)}
    seen("Lead", 1, 8, Email="kim@acme.example", Company=None, **converted)
    assert guesses() == []
