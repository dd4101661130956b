"""Properties that the settings come to call otherwise: a new name is given on request, an old one to nobody else."""

from integration.core import catalog
from integration.core.catalog import ObjectSchema
from integration.core.registry import Registry


def schema(**fields: str) -> ObjectSchema:
    described = {"name": "Contact", "fields": [{"name": f, "type": t} for f, t in {"Id": "id", **fields}.items()]}
    made = catalog.schema_from_describe(described | {"fields": [*described["fields"], STAMP]})
    assert made is not None
    return made


STAMP = {"name": "SystemModstamp", "type": "datetime"}


def registered(fields: ObjectSchema, **names: str) -> Registry:
    registry = Registry({"Contact": names})
    registry.register(fields)
    return registry


def properties(registry: Registry) -> dict[str, str]:
    return {field: named.property for field, named in registry.fields("Contact").items()}


def test_a_field_gets_the_name_the_settings_want_and_keeps_its_column() -> None:
    registry = registered(schema(Title="string"))
    registry.overrides = {"Contact": {"Title": "job"}}

    [(old, new)], warnings = registry.rename()

    assert (old.property, new.property, new.column, warnings) == ("sfdc_contact_title", "sfdc_contact_job", "title", [])
    assert properties(registry)["Title"] == "sfdc_contact_job"
    assert registry.rename() == ([], [])


def test_the_old_name_is_the_fields_own_for_ever_and_nobody_elses() -> None:
    registry = registered(schema(Title="string"), Title="job")
    registry.overrides = {"Contact": {"Title": "calling"}}
    registry.rename()

    registry.register(schema(Title="string", Job="string"))
    assert properties(registry)["Job"] == "sfdc_contact_job_2"

    registry.overrides = {"Contact": {"Title": "job"}}
    registry.rename()
    assert properties(registry) | {} == properties(registry)
    assert properties(registry)["Title"] == "sfdc_contact_job"
    assert properties(registry)["Job"] == "sfdc_contact_job_2"
    assert set(registry.retired) == {"sfdc_contact_calling"}


def test_two_fields_do_not_swap_their_names() -> None:
    registry = registered(schema(One__c="string", Two__c="string"))
    registry.overrides = {"Contact": {"One__c": "two", "Two__c": "one"}}

    _, warnings = registry.rename()

    assert (properties(registry)["One__c"], properties(registry)["Two__c"]) == (
        "sfdc_contact_two_2",
        "sfdc_contact_one_2",
    )
    assert len(warnings) == 2
    assert registry.rename()[0] == []


def test_every_type_a_field_had_is_renamed() -> None:
    registry = registered(schema(Score__c="double"))
    registry.register(schema(Score__c="string"))
    registry.overrides = {"Contact": {"Score__c": "points"}}

    registry.rename()

    given = [named.property for key, named in registry.entries.items() if key.field == "Score__c"]
    assert given == ["sfdc_contact_points", "sfdc_contact_points_text"]
    assert properties(registry)["Score__c"] == "sfdc_contact_points_text"


def test_what_was_renamed_is_remembered_by_the_store() -> None:
    registry = registered(schema(Title="string"))
    registry.overrides = {"Contact": {"Title": "job"}}
    registry.rename()

    again = Registry({"Contact": {"Title": "job"}})
    again.restore(registry.entries.values(), registry.retired)

    assert again.rename() == ([], [])
    assert (properties(again), again.retired) == (properties(registry), registry.retired)
