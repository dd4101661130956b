from integration.core import catalog
from integration.core.catalog import ObjectSchema
from integration.core.registry import Registry


def schema(name: str, **fields: str) -> ObjectSchema:
    described = {"name": name, "fields": [{"name": f, "type": t} for f, t in {"Id": "id", **fields}.items()]}
    described["fields"].append({"name": "SystemModstamp", "type": "datetime"})  # type: ignore[attr-defined]
    found = catalog.schema_from_describe(described)
    assert found is not None
    return found


def names(registry: Registry, object_name: str, prefix: str | None = None) -> dict[str, str]:
    return {f: n.property for f, n in registry.fields(object_name, prefix).items()}


def test_two_fields_that_want_one_name_get_two_and_a_warning() -> None:
    registry = Registry()

    _, warnings = registry.register(schema("Contact", Title="string", Title__c="string"))

    assert names(registry, "Contact")["Title"] == "sfdc_contact_title"
    assert names(registry, "Contact")["Title__c"] == "sfdc_contact_title_2"
    assert len(warnings) == 1


def test_a_type_that_changes_makes_a_new_column_and_keeps_the_old_name_taken() -> None:
    registry = Registry()
    registry.register(schema("Contact", Score__c="string"))
    registry.register(schema("Contact", Score__c="double"))

    named = registry.fields("Contact")["Score__c"]

    assert (named.property, named.column) == ("sfdc_contact_score_decimal", "score__c_decimal")
    assert "sfdc_contact_score" in {n.property for n in registry.entries.values()}


def test_a_name_never_changes_when_the_registry_is_restored_in_its_order() -> None:
    first = Registry()
    first.register(schema("Contact", Title="string", Title__c="string"))
    second = Registry()
    second.restore(first.entries.values())

    new, _ = second.register(schema("Contact", Title__c="string", Title="string", Phone="phone"))

    assert [n.property for n in new] == ["sfdc_contact_phone"]
    assert {**names(first, "Contact"), "Phone": "sfdc_contact_phone"} == names(second, "Contact")


def test_names_of_the_settings_win_over_the_rule() -> None:
    registry = Registry({"Account": {"Revenue__c": "sfdc_account_arr"}, "cbit__Clearbit__c": {"cbit__Kind__c": "kind"}})
    registry.register(schema("Account", Revenue__c="currency"))
    registry.register(schema("cbit__Clearbit__c", cbit__Kind__c="string"), "Account")

    assert names(registry, "Account")["Revenue__c"] == "sfdc_account_arr"
    assert names(registry, "cbit__Clearbit__c", "Account")["cbit__Kind__c"] == "sfdc_account_kind"


def test_a_field_may_not_take_the_name_of_a_roll_up() -> None:
    registry = Registry()
    registry.register(schema("Opportunity", Count__c="int"))

    assert names(registry, "Opportunity")["Count__c"] == "sfdc_opportunity_count_2"
