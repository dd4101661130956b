from typing import Any

from integration.core import catalog, exactjson
from integration.core.catalog import ObjectSchema
from integration.core.registry import Registry
from integration.core.schema_changes import Kind, SchemaChange, last_described, schema_changes

REGION = {"type": "picklist", "values": ["EMEA", "APAC"]}


def described(label: str = "Contact", **fields: Any) -> ObjectSchema:
    """An object as describe would show it; a field is its type, or a dict of describe's keys."""
    shown: list[dict[str, Any]] = [{"name": "Id", "type": "id"}, {"name": "SystemModstamp", "type": "datetime"}]
    for name, given in fields.items():
        field = {"type": given} if isinstance(given, str) else dict(given)
        values = field.pop("values", None)
        if values is not None:
            field["picklistValues"] = [{"value": v, "active": not v.startswith("~")} for v in values]
        shown.append({"name": name, "label": name, **field})
    found = catalog.schema_from_describe({"name": "Contact", "label": label, "fields": shown})
    assert found is not None
    return found


def kinds(changes: list[SchemaChange]) -> list[tuple[str | None, str]]:
    return [(c.field, str(c.kind)) for c in changes]


def test_a_first_description_is_no_change() -> None:
    assert schema_changes(None, described(Fax="phone")) == []


def test_fields_that_come_and_go_are_told() -> None:
    changes = schema_changes(described(Fax="phone", Title="string"), described(Title="string", Region__c="string"))

    assert kinds(changes) == [("Region__c", "added"), ("Fax", "removed")]
    assert "hidden" in (changes[1].note or "")


def test_a_field_that_the_settings_leave_out_is_not_called_hidden() -> None:
    changes = schema_changes(described(Fax="phone"), described(), excluded=lambda o, f: (o, f) == ("Contact", "Fax"))

    assert changes == [SchemaChange("Contact", "Fax", Kind.REMOVED, "left out by the settings")]


def test_a_field_that_comes_back_is_shown_and_not_added() -> None:
    first, without = described(Fax="phone"), described()

    changes = schema_changes(without, first, known=last_described([first, without]))

    assert kinds(changes) == [("Fax", "shown")]


def test_a_field_that_comes_back_with_another_type_is_shown_and_retyped() -> None:
    first, without = described(Score__c="string"), described()

    changes = schema_changes(without, described(Score__c="double"), known=last_described([first, without]))

    assert kinds(changes) == [("Score__c", "shown"), ("Score__c", "retyped")]


def test_another_type_says_whether_it_makes_a_new_column() -> None:
    to_text = schema_changes(described(Score__c="double"), described(Score__c="string"))
    to_picklist = schema_changes(described(Score__c="string"), described(Score__c="picklist"))

    assert [c.note for c in to_text] == ["was double, is string: a new column"]
    assert [c.note for c in to_picklist] == ["was string, is picklist: the same column"]


def test_new_labels_of_an_object_and_its_fields_are_told() -> None:
    old = described(Fax={"type": "phone", "label": "Fax"})
    new = described("Person", Fax={"type": "phone", "label": "Telefax"})

    changes = schema_changes(old, new)

    assert [(c.field, c.note) for c in changes] == [
        (None, "was Contact, is Person"),
        ("Fax", "was Fax, is Telefax"),
    ]
    assert {c.kind for c in changes} == {Kind.LABEL}


def test_values_of_a_picklist_that_come_and_go_are_named() -> None:
    new = {"type": "picklist", "values": ["APAC", "LATAM", "~EMEA"]}

    changes = schema_changes(described(Region__c=REGION), described(Region__c=new))

    assert [(str(c.kind), c.note) for c in changes] == [("picklist", "new: LATAM; gone: EMEA")]


def test_values_of_a_picklist_in_another_order_are_no_change() -> None:
    assert schema_changes(described(R__c=REGION), described(R__c={**REGION, "values": ["APAC", "EMEA"]})) == []


def test_a_long_list_of_new_values_is_cut() -> None:
    new = {"type": "picklist", "values": [*REGION["values"], *(f"V{n:03d}" for n in range(50))]}

    [change] = schema_changes(described(R__c=REGION), described(R__c=new))

    assert change.note is not None
    assert change.note.endswith("V019 and 30 more")


def test_a_description_stored_before_picklists_were_read_can_still_be_read_and_tells_no_change() -> None:
    schema = described(Region__c=REGION)
    raw = exactjson.loads(catalog.to_json(schema))
    for field in raw["fields"]:
        del field["picklist"]

    old = catalog.from_json(exactjson.dumps(raw))

    assert [f.name for f in old.fields] == [f.name for f in schema.fields]
    assert schema_changes(old, schema) == []
    assert catalog.from_json(catalog.to_json(schema)) == schema


def test_a_field_that_has_its_old_type_again_has_its_old_names_again() -> None:
    registry = Registry()
    text, number = described(Score__c="string"), described(Score__c="double")
    registry.register(text)
    registry.register(number)

    new, _ = registry.register(text)

    assert new == []
    assert registry.fields("Contact")["Score__c"].column == "score__c"
