"""Administrators at work: fields and objects that come, go, hide and change while data flows.

Each returns a sentence, or None if there is nothing for it.
"""

from collections.abc import Callable

from integration.sandbox.fields import of_type
from integration.sandbox.model import FieldDef
from integration.sandbox.traffic_desk import Desk, FollowUp, Row

# What other traffic and the platform's own rules write: an org whose administrators broke that would stand still.
_IN_USE = frozenset(
    {"MRR__c", "Seats__c", "Segment__c", "Loss_Reason__c", "Score__c", "Engagement__c", "cbit__Clearbit__c"}
)
_PLAIN_STANDARD = frozenset({"Department", "Fax", "Description", "MobilePhone", "Website", "Rating", "NextStep"})
_OBJECTS = ("Contact", "Account", "Lead", "Opportunity", "Task", "Campaign")
_HIDEABLE = ("Campaign", "CampaignMember", "Task", "Event", "OpportunityContactRole", "cbit__Clearbit__c")
_TYPES = ("string", "double", "boolean", "date", "picklist", "textarea")
_LISTS = ("picklist", "multipicklist", "combobox")


def field_added(desk: Desk) -> str | None:
    """A field appears and is filled in some records: saved in most, slipped in behind everybody's back in others.

    Now and then it has the name of one that was removed.
    """
    name = desk.choose(_OBJECTS)
    if desk.removed and desk.rng.random() < 0.4:
        name, field = desk.removed.pop(0)
    else:
        desk.made += 1
        field = f"Extra_{desk.made}__c"
    kind = desk.choose(_TYPES)
    definition = of_type(field, kind, picklist=("Red", "Green", "Blue") if kind == "picklist" else ())
    desk.org.add_field(name, definition)
    records = desk.some(name, desk.rng.randint(3, 12), lambda row: not row.get("IsConverted"))
    for number, record in enumerate(records):
        value = _value(desk, definition)
        if number % 3:
            desk.org.update(name, record["Id"], {field: value}, by=desk.user())
        else:
            desk.org.drift(name, record["Id"], {field: value})
    return f"{name} has a new field {field} ({definition.type}), filled in {len(records)} records"


def field_hidden(desk: Desk) -> str | None:
    """The API user may no longer see a field."""
    found = _field(desk, lambda f: f.custom or f.name in _PLAIN_STANDARD)
    if found is None:
        return None
    name, field = found
    desk.org.hide_field(name, field.name)
    desk.hidden.append((name, field.name))
    return f"{field.name} of {name} is hidden"


def field_shown(desk: Desk) -> str | None:
    """The API user sees the field again that was hidden first."""
    if not desk.hidden:
        return None
    name, field = desk.hidden.pop(0)
    desk.org.show_field(name, field)
    return f"{field} of {name} is shown again"


def field_removed(desk: Desk) -> str | None:
    """A custom field is gone with all its values."""
    found = _field(desk, lambda f: f.custom and f.stored and f.compound_of is None)
    if found is None:
        return None
    name, field = found
    desk.org.remove_field(name, field.name)
    desk.removed.append((name, field.name))
    return f"{field.name} of {name} was removed"


def field_retyped(desk: Desk) -> str | None:
    """A custom field gets another type."""
    found = _field(desk, lambda f: f.custom and f.stored and f.compound_of is None and f.type != "reference")
    if found is None:
        return None
    name, field = found
    kind = desk.choose([kind for kind in _TYPES if kind != field.type])
    desk.org.retype_field(name, field.name, kind)
    return f"{field.name} of {name} is a {kind} instead of a {field.type}"


def label_changed(desk: Desk) -> str | None:
    """A field is called something else; its API name stays."""
    found = _field(desk, lambda f: f.custom or f.name in _PLAIN_STANDARD)
    if found is None:
        return None
    name, field = found
    new = f"{field.label.partition(' / ')[0]} / {desk.step}"
    desk.org.relabel_field(name, field.name, new)
    return f'{field.name} of {name} is called "{new}" instead of "{field.label}"'


def picklist_changed(desk: Desk) -> str | None:
    """A list of values gets a new one and loses another."""
    found = _field(desk, lambda f: f.type in _LISTS and f.custom)
    if found is None:
        return None
    name, field = found
    values = [*field.picklist, f"Choice {desk.step}"]
    if len(values) > 2:
        values.pop(int(desk.rng.random() * (len(values) - 1)))
    desk.org.set_picklist(name, field.name, values)
    return f"{field.name} of {name} offers {', '.join(values)}"


def object_hidden(desk: Desk) -> str | None:
    """The API user loses an object, and gets it back some steps later."""
    candidates = [name for name in _HIDEABLE if name in desk.org.objects]
    if not candidates:
        return None
    name = desk.choose(candidates)
    desk.org.hide_object(name)
    desk.away.append(name)
    desk.later.append(FollowUp(lambda: _show_object(desk, name), step=desk.step + desk.rng.randint(3, 12)))
    return f"{name} is hidden"


def show_everything(desk: Desk) -> list[str]:
    """Show every field and object that is hidden still; return a sentence for each."""
    said = [_show_object(desk, name) for name in list(desk.away)]
    while (shown := field_shown(desk)) is not None:
        said.append(shown)
    return [sentence for sentence in said if sentence is not None]


def _show_object(desk: Desk, name: str) -> str | None:
    if name not in desk.away:
        return None
    desk.away.remove(name)
    desk.org.show_object(name)
    return f"{name} is shown again"


def _field(desk: Desk, wanted: Callable[[FieldDef], bool]) -> tuple[str, FieldDef] | None:
    """Return an object and one of its fields that nothing depends on and that is not hidden, or None."""
    name = desk.choose(_OBJECTS)
    if name not in desk.org.tables:
        return None
    fields = [f for f in desk.org.visible_fields(name) if f.name not in _IN_USE and wanted(f)]
    return (name, desk.choose(fields)) if fields else None


def _value(desk: Desk, field: FieldDef) -> object:
    makers: Row = {
        "double": lambda: round(desk.rng.uniform(0, 1000), 2),
        "boolean": lambda: True,
        "date": lambda: f"2026-{desk.rng.randint(1, 12):02d}-{desk.rng.randint(1, 28):02d}",
        "picklist": lambda: desk.choose(field.picklist),
    }
    return makers.get(field.type, lambda: f"Text {desk.rng.randint(1, 999)}")()
