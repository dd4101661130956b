"""What makes change capture hard: deletes, merges, ties, late commits, edits without a change."""

from integration.sandbox import names
from integration.sandbox.traffic_desk import Desk, Row, label

_BINNED = ("Contact", "Opportunity", "Lead", "Task")
_WATCHED = ("Contact", "Account", "Opportunity", "Lead")


def contact_merged(desk: Desk) -> str | None:
    """Two contacts turn out to be one person."""
    winner = desk.find("Contact")
    if winner is None:
        return None
    loser = desk.find(
        "Contact", lambda row: row["Id"] != winner["Id"] and row["AccountId"] == winner["AccountId"]
    ) or desk.find("Contact", lambda row: row["Id"] != winner["Id"])
    if loser is None:
        return None
    desk.org.merge("Contact", winner["Id"], [loser["Id"]], by=desk.user())
    return f"{desk.who(loser)} was merged into {desk.who(winner)}"


def contact_deleted(desk: Desk) -> str | None:
    """A contact goes to the recycle bin, with roles and memberships."""
    return _delete(desk, "Contact")


def opportunity_deleted(desk: Desk) -> str | None:
    """A deal goes to the recycle bin."""
    return _delete(desk, "Opportunity")


def record_restored(desk: Desk) -> str | None:
    """Something comes back from the recycle bin."""
    name = desk.choose(_BINNED)
    record = desk.find(name, lambda row: not row.get("MasterRecordId") and _home_is_there(desk, row), deleted=True)
    if record is None:
        return None
    desk.org.undelete(name, record["Id"], by=desk.user())
    return f"{name} {label(record)} is back from the recycle bin"


def record_purged(desk: Desk) -> str | None:
    """Something in the recycle bin is gone for good."""
    name = desk.choose(_BINNED)
    record = desk.find(name, deleted=True)
    if record is None:
        return None
    desk.org.purge(name, record["Id"])
    return f"{name} {label(record)} is gone for good"


def record_touched(desk: Desk) -> str | None:
    """An internal process moves a stamp: nothing to see."""
    name = desk.choose(_WATCHED)
    record = desk.find(name)
    if record is None:
        return None
    desk.org.touch(name, record["Id"])
    return f"{name} {label(record)} was touched, and nothing changed"


def saved_unchanged(desk: Desk) -> str | None:
    """Somebody presses Save without having typed anything."""
    name = desk.choose(_WATCHED)
    record = desk.find(name, lambda row: not row.get("IsConverted"))
    if record is None:
        return None
    desk.org.update(name, record["Id"], {}, by=desk.user())
    return f"{name} {label(record)} was saved as it was"


def two_in_one_second(desk: Desk) -> str | None:
    """Two people save one record within a second: both get the same stamp."""
    contact = desk.find("Contact")
    if contact is None:
        return None
    titles: list[str] = []
    stamps: list[str] = []
    # On a real clock the second may end between the two; then a third save makes the pair.
    while len(stamps) < 2 or (stamps[-1] != stamps[-2] and len(stamps) < 5):
        titles.append(f"{names.person(desk.rng).title} ({len(titles) + 1})")
        desk.org.update("Contact", contact["Id"], {"Title": titles[-1]}, by=desk.user())
        stamps.append(str(desk.org.value("Contact", contact["Id"], "SystemModstamp")))
    return f"{desk.who(contact)} became {titles[-2]} and {titles[-1]} in one second"


def late_commit(desk: Desk) -> str | None:
    """A transaction stamps an edit now and commits it a few operations later."""
    contact = desk.find("Contact")
    if contact is None:
        return None
    title = names.person(desk.rng).title + ", acting"
    transaction = desk.org.begin()
    try:
        transaction.update("Contact", contact["Id"], {"Title": title}, by=desk.user())
    except BaseException:
        transaction.rollback()
        raise
    due = desk.step + desk.rng.randint(2, 6)
    desk.wait_for(transaction, f"{desk.who(contact)} is {title}, as was saved a while ago", step=due)
    return f"A slow transaction began to make {desk.who(contact)} {title}"


def _delete(desk: Desk, name: str) -> str | None:
    record = desk.find(name)
    if record is None:
        return None
    desk.org.delete(name, record["Id"], by=desk.user())
    return f"{name} {label(record)} was deleted"


def _home_is_there(desk: Desk, row: Row) -> bool:
    pointers = (("Account", "AccountId"), ("Contact", "WhoId"), ("Lead", "WhoId"), ("Opportunity", "WhatId"))
    for name, field in pointers:
        key = row.get(field)
        if key and desk.org.object_of(key) == name and desk.get(name, key) is None:
            return False
    return True
