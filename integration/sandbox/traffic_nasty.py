"""What loses changes: edits in a row, hard deletes, very late commits, values that move without a stamp.

Each returns a sentence, or None if there is nothing for it.
"""

from collections.abc import Sequence
from datetime import timedelta

from integration.sandbox import names, traffic_oddities
from integration.sandbox.clock import VirtualClock
from integration.sandbox.traffic_desk import Desk, FollowUp, Row, label
from integration.sandbox.world_deals import OPEN_STAGES

MAILBOX = "info@example.com"
ENRICHMENT = "cbit__Clearbit__c"

_DOOMED = ("Contact", "Lead", "Opportunity", "Task", "Account")
_TIED = {"Contact": "Department", "Lead": "Description", "Opportunity": "NextStep", "Task": "Description"}
_STATUSES = ("New", "Working", "Nurturing", "Unqualified")


def several_edits(desk: Desk) -> str | None:
    """One record is edited two to four times within seconds; sometimes it ends as it began."""
    name = desk.choose(("Opportunity", "Contact", "Contact", "Lead", "Account"))
    record = desk.find(name, lambda row: not row.get("IsConverted") and not row.get("IsClosed"))
    if record is None:
        return None
    field = desk.choose({"Opportunity": ("StageName", "StageName", "Amount"), "Contact": ("Email", "Email", "Title"),
                         "Lead": ("Status", "Email"), "Account": ("Industry", "Name")}[name])  # fmt: skip
    values = [_other_value(desk, name, field, record, number) for number in range(desk.rng.randint(2, 4))]
    if desk.rng.random() < 0.4:
        values[-1] = record[field]
    _one_after_the_other(desk, name, record["Id"], [{field: value} for value in values])
    back = ", the last time back to what it was" if values[-1] == record[field] else ""
    return f"{field} of {name} {label(record)} was edited {len(values)} times in a row{back}"


def deleted_for_good(desk: Desk) -> str | None:
    """Something is deleted, and the recycle bin emptied at once."""
    name = desk.choose(_DOOMED)
    record = desk.find(name)
    if record is None:
        return None
    family = len(desk.org.family(name, record["Id"])) - 1
    desk.org.delete(name, record["Id"], by=desk.user())
    desk.org.purge(name, record["Id"])
    return f"{name} {label(record)} was deleted for good" + (f", and {family} records with it" if family else "")


def very_late_commit(desk: Desk) -> str | None:
    """A transaction saves now, and commits 15 to 60 minutes later."""
    contact, deal = desk.find("Contact"), desk.find("Opportunity", lambda row: not row["IsClosed"])
    way = desk.choose(("contact", "deal", "lead"))
    title, user = names.person(desk.rng).title, desk.user()
    minutes = desk.rng.randint(15, 60)
    transaction = desk.org.begin()
    try:
        if way == "contact" and contact is not None:
            transaction.update("Contact", contact["Id"], {"Title": f"{title}, at last", "Phone": None}, by=user)
            who = label(contact)
        elif way == "deal" and deal is not None:
            transaction.update("Opportunity", deal["Id"], {"NextStep": f"Call the {title}"}, by=user)
            who = label(deal)
        else:
            someone = names.person(desk.rng)
            person = {"FirstName": someone.first, "LastName": someone.last, "Title": title, "Company": "Slow & Sons"}
            transaction.insert("Lead", person | {"Email": desk.email(someone.first, someone.last, None)}, by=user)
            who = f"{someone.name}, a new lead"
    except BaseException:
        transaction.rollback()
        raise
    due = desk.org.clock.now() + timedelta(minutes=minutes)
    desk.wait_for(transaction, f"What was saved {minutes} minutes ago can be seen: {who}", at=due)
    return f"A transaction that will take {minutes} minutes saved {who}"


def undeleted_without_stamp(desk: Desk) -> str | None:
    """Something comes back from the recycle bin with the stamp it had there."""
    org = desk.org
    usual, org.undelete_moves_stamp = org.undelete_moves_stamp, False
    try:
        said = traffic_oddities.record_restored(desk)
    finally:
        org.undelete_moves_stamp = usual
    return said and f"{said}, and its stamp did not move"


def drifted(desk: Desk) -> str | None:
    """A back-end job writes into a record and leaves no trace."""
    name = desk.choose((ENRICHMENT, ENRICHMENT, "Contact"))
    record = desk.find(name)
    if record is None:
        return None
    number = float(desk.rng.randint(1, 99))
    if name == "Contact":
        fields: Row = {"Score__c": number + 0.5, "Engagement__c": number}
    else:
        role = names.weighted(desk.rng, names.ROLES, names.ROLE_WEIGHTS)
        fields = {"cbit__Role__c": role, "cbit__Employment_Role__c": role, "cbit__Company_Size__c": number}
    desk.org.drift(name, record["Id"], fields)
    return f"{name} {label(record)} drifted: {', '.join(fields)}"


def shared_mailbox(desk: Desk) -> str | None:
    """Some more people write from one address that is nobody's own."""
    name = desk.choose(("Contact", "Contact", "Lead"))
    people = desk.some(name, desk.rng.randint(3, 9), lambda row: row["Email"] != MAILBOX and not row.get("IsConverted"))
    for person in people:
        desk.org.update(name, person["Id"], {"Email": MAILBOX}, by=desk.user())
    return f"{len(people)} more {name.lower()}s write from {MAILBOX}" if people else None


def email_in_odd_form(desk: Desk) -> str | None:
    """Somebody types an e-mail address, their own or one that is known already, in another way."""
    name = desk.choose(("Contact", "Lead"))
    person = desk.find(name, lambda row: not row.get("IsConverted"))
    other = desk.find(desk.choose(("Contact", "Lead")), lambda row: bool(row["Email"]))
    if person is None or other is None:
        return None
    email = str(person["Email"] if person["Email"] and desk.rng.random() < 0.6 else other["Email"]).strip()
    odd = desk.choose((email.upper(), email.title(), f" {email}", f"{email} ", f"  {email.upper()} "))[:80]
    desk.org.update(name, person["Id"], {"Email": odd}, by=desk.user())
    return f'{label(person)} has the e-mail "{odd}" now'


def account_merged(desk: Desk) -> str | None:
    """Two accounts are one company: people, deals and activities get the winner."""
    winner = desk.account()
    loser = desk.find("Account", lambda row: winner is not None and row["Id"] != winner["Id"])
    if winner is None or loser is None:
        return None
    desk.org.merge("Account", winner["Id"], [loser["Id"]], by=desk.user())
    return f"{label(loser)} was merged into {label(winner)} with its people and deals"


def lead_merged(desk: Desk) -> str | None:
    """Two leads are one person: activities and campaign memberships get the winner."""
    open_leads = desk.some("Lead", 40, lambda row: not row["IsConverted"])
    if len(open_leads) < 2:
        return None
    active = {row[desk.org.tables["Task"].at["WhoId"]] for row in desk.org.tables["Task"].rows.values()}
    loser = next((lead for lead in open_leads if lead["Id"] in active), open_leads[0])
    winner = next(lead for lead in open_leads if lead["Id"] != loser["Id"])
    desk.org.merge("Lead", winner["Id"], [loser["Id"]], by=desk.user())
    return f"Lead {label(loser)} was merged into {label(winner)}"


def deals_reparented(desk: Desk) -> str | None:
    """The deals of one account go to another."""
    deal = desk.find("Opportunity", lambda row: bool(row["AccountId"]))
    target = desk.find("Account", lambda row: deal is not None and row["Id"] != deal["AccountId"])
    if deal is None or target is None:
        return None
    deals = desk.some("Opportunity", 5, lambda row: row["AccountId"] == deal["AccountId"])
    for moved in deals:
        desk.org.update("Opportunity", moved["Id"], {"AccountId": target["Id"]}, by=desk.user())
    return f"{len(deals)} deals like {label(deal)} belong to {label(target)} now"


def delete_log_purged(desk: Desk) -> str | None:
    """The org forgets what was deleted more than a few hours ago."""
    hours = desk.rng.randint(1, 6)
    desk.org.forget_deletes(desk.org.clock.now() - timedelta(hours=hours))
    return f"The delete log older than {hours} hours is gone"


def tie(desk: Desk) -> str | None:
    """Dozens of records are saved in one second."""
    name = desk.choose(tuple(_TIED))
    field, number = _TIED[name], desk.rng.randint(24, 60)
    records = desk.some(name, number, lambda row: not row.get("IsConverted"))
    if len(records) < 2:
        return None
    text = f"Batch {desk.step}"
    for record in records:
        desk.org.update(name, record["Id"], {field: text})
    return f'{len(records)} records of {name} got the {field} "{text}" in one second'


def _one_after_the_other(desk: Desk, name: str, key: str, edits: Sequence[Row]) -> None:
    """Save the first edit now, and each other one some seconds later."""
    clock, wait = desk.org.clock, 0
    for edit in edits:
        user = desk.user()

        def save(edit: Row = edit, user: str | None = user) -> None:
            desk.org.update(name, key, edit, by=user)

        if edit is edits[0]:
            save()
        elif isinstance(clock, VirtualClock):
            clock.advance(desk.rng.randint(1, 5))
            save()
        else:
            # Nobody can turn this clock on: the other edits wait for it.
            wait += desk.rng.randint(1, 5)
            desk.later.append(FollowUp(save, at=clock.now() + timedelta(seconds=wait)))


def _other_value(desk: Desk, name: str, field: str, record: Row, number: int) -> object:
    if field == "StageName":
        return desk.choose([stage for stage in OPEN_STAGES if stage != record[field]])
    if field == "Status":
        return desk.choose([status for status in _STATUSES if status != record[field]])
    if field == "Industry":
        return desk.choose([industry for industry in names.INDUSTRIES if industry != record[field]])
    if field == "Amount":
        return round((record[field] or 1000.0) * desk.rng.uniform(0.5, 1.5) + number + 0.01, 2)
    if field == "Email":
        return desk.email(record["FirstName"] or "x", record["LastName"], None)
    return f"{record[field] or name} ({number + 1})"[:80]
