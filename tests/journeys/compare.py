"""Holds a store against the oracle; every difference comes back as a sentence."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from oracle import MAX_CLUSTER, WATCHED, Watcher

COLUMNS = (
    "user_id", "contact_id", "lead_id", "account_id", "owner_id", "is_deleted", "sfdc_opportunity_count",
    "sfdc_opportunity_open_count", "sfdc_opportunity_open_amount", "sfdc_opportunity_won_count",
    "sfdc_opportunity_won_amount",
)  # fmt: skip
SHOWN = {
    "contact": ("Name", "Title", "Email", "Birthdate", "CreatedDate", "MailingCity"),
    "lead": ("Company", "Status", "Email", "AnnualRevenue"),
    "account": ("Name", "Industry", "ARR__c", "MRR__c", "NumberOfEmployees"),
    "opportunity": ("Name", "Amount", "CloseDate", "IsWon"),
}
SNAKE = {
    "MailingCity": "mailing_city", "CreatedDate": "created_date", "AnnualRevenue": "annual_revenue",
    "ARR__c": "arr", "MRR__c": "mrr", "NumberOfEmployees": "number_of_employees", "CloseDate": "close_date",
    "IsWon": "is_won",
}  # fmt: skip


def differences(company: Any) -> list[str]:
    """Compare raw tables, people, accounts and events with what the oracle says."""
    watcher: Watcher = company.watcher
    with company.asking():
        return [*_state(company), *_events(company, watcher), *_histories(company, watcher)]


def state_differences(company: Any) -> list[str]:
    """The same for what must be there however often the org was looked at."""
    with company.asking():
        return _state(company)


def _state(company: Any) -> list[str]:
    watcher: Watcher = company.watcher
    return [
        *_raw(company, watcher),
        *_people(company, watcher),
        *_definition(company),
        *_accounts(company, watcher),
        *_identities(company, watcher),
    ]


def assert_equal(company: Any) -> None:
    """Fail with every difference, one a line."""
    found = differences(company)
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:25])


def assert_state_equal(company: Any) -> None:
    """The same for what does not depend on when polls happened; the changes of each field must form a chain."""
    watcher: Watcher = company.watcher
    found = [*_raw(company, watcher), *_people(company, watcher), *_accounts(company, watcher), *_chains(company)]
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:25])


def assert_records_equal(company: Any) -> None:
    """The same for what does not depend on what was seen between two looks either: of a record that was merged and
    deleted for good in between, only who looked in time knows whose person it is."""
    watcher: Watcher = company.watcher
    with company.asking():
        found = [*_raw(company, watcher), *_definition(company), *_chains(company)]
    assert not found, f"{len(found)} differences:\n" + "\n".join(found[:25])


def plain(value: Any, kind: str = "") -> Any:
    """Bring a value of Salesforce or of the store into one form."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value)).normalize()
    if kind == "datetime" or (isinstance(value, str) and value[10:11] == "T" and value.endswith(("Z", "+0000"))):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value


def text(value: Any, kind: str) -> str | None:
    """Write a value of Salesforce as `changes` must show it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return format(Decimal(str(value)).normalize(), "f")
    if kind == "datetime":
        with suppress(ValueError):  # a text of the time when the field had another type
            return datetime.fromisoformat(value).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def _raw(company: Any, watcher: Watcher) -> list[str]:
    found = []
    for name in (*WATCHED, "cbit__Clearbit__c"):
        if name not in company.org.objects:
            continue
        columns = _columns(company, name)
        stored = {r["id"]: r for r in company.query(f"SELECT * FROM salesforce.{name.lower()}")}
        shown = {r["Id"]: r for r in company.org.records(name, include_deleted=True)}
        kinds = {f.name: f.type for f in company.org.objects[name].fields}
        found += [f"{name} {i} is missing" for i in shown.keys() - stored.keys()]
        found += [f"{name} {i} is a ghost" for i in stored.keys() - shown.keys() if not stored[i]["is_deleted"]]
        for record_id in shown.keys() & stored.keys():
            row, record = stored[record_id], shown[record_id]
            for field, value in record.items():
                if field in watcher.ignored.get(name, ()) or field.startswith(("LastViewed", "LastReferenced")):
                    continue
                if plain(row[columns[field]]) != plain(value, kinds[field]):
                    found.append(f"{name} {record_id} {field} is {row[columns[field]]!r}, not {value!r}")
    return found


def _columns(company: Any, name: str) -> dict[str, str]:
    """Return field -> its raw column; a field that was retyped has several, of which the one it was given last counts."""
    given = company.query(
        f"SELECT field, column_name FROM headrace.properties WHERE object = prefix_object AND object = '{name}' "
        "ORDER BY place"
    )
    retyped = company.query(
        f"SELECT field, column_name FROM schema_log WHERE object = '{name}' AND kind = 'retyped' ORDER BY \"at\""
    )
    return {row["field"]: row["column_name"] for row in (*given, *retyped)}


def _people(company: Any, watcher: Watcher) -> list[str]:
    stored = {r["user_id"]: r for r in company.query("SELECT * FROM users")}
    expected = watcher.people()
    found = [f"user {i} is missing" for i in expected.keys() - stored.keys()]
    found += [f"user {i} is nobody" for i in stored.keys() - expected.keys()]
    for user_id in expected.keys() & stored.keys():
        row, wanted = stored[user_id], expected[user_id]
        pairs = [(c, wanted[c]) for c in COLUMNS] + [("first_seen", wanted["first_seen"])]
        if wanted["email_key"]:
            pairs.append(("identity", wanted["email_key"]))
        for part, fields in SHOWN.items():
            for field in fields:
                column = f"sfdc_{part}_{SNAKE.get(field, field.lower())}"
                if column in row:
                    pairs.append((column, wanted[part] and wanted[part].get(field)))
        pairs.append(("sfdc_opportunity_stage", wanted["opportunity"] and wanted["opportunity"]["StageName"]))
        pairs.append(("sfdc_account_account_type", wanted["account"] and wanted["account"]["Type"]))
        found += [
            f"user {user_id} {column} is {row[column]!r}, not {value!r}"
            for column, value in pairs
            if plain(row[column]) != plain(value)
        ]
    return found


_DEFINED = (
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_schema = 'headrace' AND table_name = 'users_defined' ORDER BY ordinal_position"
)


def _definition(company: Any) -> list[str]:
    """The table equals its defining query at all times."""
    columns = ", ".join(f'"{r["column_name"]}"' for r in company.query(_DEFINED))
    table, defined = f"SELECT {columns} FROM users", f"SELECT {columns} FROM headrace.users_defined"
    rows = company.query(f"({table} EXCEPT {defined}) UNION ALL ({defined} EXCEPT {table})")
    return [f"user {r['user_id']} is not as headrace.users_defined says" for r in rows]


def _accounts(company: Any, watcher: Watcher) -> list[str]:
    stored = {r["account_id"]: r for r in company.query("SELECT * FROM accounts")}
    expected = watcher.accounts()
    found = [f"account {i} is there or missing" for i in expected.keys() ^ stored.keys()]
    for account_id in expected.keys() & stored.keys():
        row, wanted = stored[account_id], dict(expected[account_id])
        record = wanted.pop("account")
        wanted |= {"sfdc_account_name": record["Name"], "sfdc_account_arr": record.get("ARR__c")}
        found += [
            f"account {account_id} {column} is {row[column]!r}, not {value!r}"
            for column, value in wanted.items()
            if plain(row[column]) != plain(value)
        ]
    return found


def _events(company: Any, watcher: Watcher) -> list[str]:
    changes: dict[str, list[tuple[str, str | None, str | None]]] = {}
    # What moved without a stamp is told with the next version that has one: right, but no business of the oracle's.
    late = set()
    polled = (
        "SELECT event_id, object, field, old_value, new_value FROM changes WHERE origin <> 'history' ORDER BY field"
    )
    for row in company.query(polled):
        mine = changes.setdefault(row["event_id"], [])
        if row["field"] in watcher.ignored.get(row["object"], ()):
            late.add(row["event_id"])
        else:
            mine.append((row["field"], row["old_value"], row["new_value"]))
    stored = Counter(
        (r["object"], r["record_id"], r["name"], tuple(changes.get(r["event_id"], ())))
        for r in company.query("SELECT * FROM events WHERE origin <> 'history'")
        if r["object"] in WATCHED and (changes.get(r["event_id"]) or r["event_id"] not in late)
    )
    expected = Counter(
        (o, i, name, tuple((f, text(a, kind), text(b, kind)) for f, a, b, kind in changed))
        for o, i, name, changed in watcher.events
    )
    found = [f"event {e} is missing" for e in (expected - stored).elements()]
    found += [f"event {e} is one too many" for e in (stored - expected).elements()]
    return found


def _chains(company: Any) -> list[str]:
    """Each change of a field begins where the last one ended. Changes of a formula under one stamp have no order, and a
    restoration tells no values: what has moved meanwhile comes with it."""
    moving = {(n, f.name) for n in WATCHED for f in company.org.objects[n].fields if f.moves_alone}
    sql = (
        "SELECT changes.* FROM changes JOIN events USING (event_id) WHERE changes.origin <> 'history' "
        "ORDER BY changes.time, events.stored_at"
    )
    restored: dict[str, list[str]] = {}
    for event in company.query("SELECT record_id, time FROM events WHERE name LIKE '% Restored'"):
        restored.setdefault(event["record_id"], []).append(event["time"])
    last: dict[tuple[str, str], tuple[str, str | None]] = {}
    found = []
    for row in company.query(sql):
        key, at = (row["record_id"], row["field"]), row["time"]
        if (row["object"], row["field"]) in moving:
            continue
        since, was = last.get(key, (at, row["old_value"]))
        if was != row["old_value"] and not any(since <= one <= at for one in restored.get(row["record_id"], ())):
            found.append(f"{key} changed from {row['old_value']!r}, but it was {was!r}")
        last[key] = (at, row["new_value"])
    return found


def _email(record: Mapping[str, Any]) -> str:
    return str(record.get("Email") or "").strip().lower()


def _identities(company: Any, watcher: Watcher) -> list[str]:
    users = {r["user_id"] for r in company.query("SELECT user_id FROM users")}
    rows = company.query("SELECT alias, kind, user_id FROM identities")
    found = [f"alias {r['alias']} belongs to {r['user_id']}, who is nobody" for r in rows if r["user_id"] not in users]
    people = {*watcher.all("Contact"), *watcher.all("Lead")}
    aliases = Counter(r["alias"] for r in rows)
    found += [f"alias {a} stands {n} times" for a, n in aliases.items() if n > 1]
    found += [f"record {i} belongs to nobody" for i in people - aliases.keys()]
    records = [r for n in ("Contact", "Lead") for r in watcher.all(n).values()]
    emails = {_email(r) for r in records} - {""}
    # What more live records share than one person can have is a mailbox, and nobody's alias.
    live = Counter(_email(r) for r in records if not r["IsDeleted"] and not r.get("IsConverted"))
    emails -= {email for email, n in live.items() if n > MAX_CLUSTER}
    told = {r["alias"] for r in rows if r["kind"] == "email"}
    found += [f"e-mail {e} is an alias too many or too few" for e in emails ^ told]
    owner = {r["alias"]: r["user_id"] for r in rows}
    for row in company.query("SELECT DISTINCT alias, user_id FROM events WHERE alias IS NOT NULL"):
        if row["user_id"] != owner.get(row["alias"]):
            found.append(f"events of {row['alias']} name {row['user_id']}, not {owner.get(row['alias'])}")
    return found


def _histories(company: Any, watcher: Watcher) -> list[str]:
    """Each row of Salesforce's field history is told exactly once, by a poll or by itself."""
    found = []
    for name in ("Account", "Contact", "Lead", "Opportunity"):
        fields = {f.name: f for f in company.org.objects[name].fields}
        by_shown_name = {f.relationship or f.name: f.name for f in fields.values()} | {f: f for f in fields}
        # Probabilities are told by OpportunityHistory too.
        tracked = {f for f in company.org.tables[name].definition.tracked if fields[f].type != "multipicklist"}
        tracked -= {"Probability"}
        # Nor does history tell of a field what happened while the login could not see it, or when its type changed.
        said = "\n".join(company.said)
        tracked -= {f for f in tracked if f"{f} of {name} is hidden" in said or f"{f} of {name} is a" in said}
        history = "OpportunityFieldHistory" if name == "Opportunity" else f"{name}History"
        # What came back from the bin, was edited and went for good between two looks: nobody saw it alive again.
        gone = company.query(f"SELECT record_id, version FROM headrace.states WHERE object = '{name}' AND is_deleted")
        last_seen = {r["record_id"]: r["version"] for r in gone}
        written: Counter[tuple[str, str, str | None]] = Counter()
        for row in company.org.records(history, include_deleted=True):
            field = by_shown_name.get(row["Field"])
            parent = row[f"{name}Id"]
            if field not in tracked or (name, parent) not in watcher.known:
                continue
            if parent in last_seen and row["CreatedDate"][:19] > last_seen[parent][:19]:
                continue
            if fields[field].type == "reference" and row["DataType"] != "EntityId":
                continue
            if row["OldValue"] is not None or row["NewValue"] is not None:
                written[(parent, str(field), text(row["NewValue"], fields[field].type))] += 1
        told = Counter(
            (r["record_id"], r["field"], r["new_value"])
            for r in company.query(f"SELECT record_id, field, new_value FROM changes WHERE object = '{name}'")
            if r["field"] in tracked
        )
        found += [f"history of {name} {entry} is not told" for entry in (written - told).elements()]
        found += [f"history of {name} {entry} is told once too often" for entry in (told - written).elements()]
    return found
