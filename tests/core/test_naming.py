import pytest

from integration.core import naming


@pytest.mark.parametrize(
    ("api_name", "expected"),
    [
        ("AnnualRevenue", "annual_revenue"),
        ("Title", "title"),
        ("ARR__c", "arr"),
        ("MRR__c", "mrr"),
        ("External_id__c", "external_id"),
        ("cbit__Company_Category_Industry__c", "cbit_company_category_industry"),
        ("DandbCompanyId", "dandb_company_id"),
        ("IsWon", "is_won"),
        ("HTTPServer__c", "http_server"),
        ("Home__Latitude__s", "home_latitude"),
    ],
)
def test_api_names_become_snake_case_without_their_suffix(api_name: str, expected: str) -> None:
    assert naming.snake(api_name) == expected


@pytest.mark.parametrize(
    ("object_name", "expected"),
    [
        ("Contact", "Contact"),
        ("OpportunityContactRole", "Opportunity Contact Role"),
        ("cbit__Clearbit__c", "Clearbit"),
        ("Renewal_Plan__c", "Renewal Plan"),
        ("CampaignMember", "Campaign Member"),
    ],
)
def test_objects_are_said_in_words_without_namespace(object_name: str, expected: str) -> None:
    assert naming.words(object_name) == expected


@pytest.mark.parametrize(
    ("prefix", "owner", "field", "expected"),
    [
        ("Contact", "Contact", "Title", "sfdc_contact_title"),
        ("Account", "Account", "ARR__c", "sfdc_account_arr"),
        ("Account", "Account", "Type", "sfdc_account_account_type"),
        ("Opportunity", "Opportunity", "StageName", "sfdc_opportunity_stage"),
        ("Contact", "cbit__Clearbit__c", "cbit__Employment_Role__c", "sfdc_contact_cbit_employment_role"),
        (
            "Account",
            "cbit__Clearbit__c",
            "cbit__Company_Category_Industry__c",
            "sfdc_account_cbit_company_category_industry",
        ),
        ("Contact", "cbit__Clearbit__c", "Name", "sfdc_contact_cbit_clearbit_name"),
    ],
)
def test_s1_15_properties_are_named_by_object_and_field(prefix: str, owner: str, field: str, expected: str) -> None:
    assert naming.property_name(prefix, owner, field) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [("Opportunity Stage Changed", "opportunity_stage_changed"), ("Sign Up", "sign_up"), ("2FA On", "event_2_fa_on")],
)
def test_s2_09_an_event_has_a_view_named_after_it(event: str, expected: str) -> None:
    assert naming.view_name(event) == expected
