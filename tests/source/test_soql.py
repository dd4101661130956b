import pytest

from integration.core.catalog import Field, ObjectSchema
from integration.errors import ConfigError
from integration.source import soql

CONTACT = ObjectSchema(
    object="Contact",
    label="Contact",
    key_prefix="003",
    custom=False,
    cursor_field="SystemModstamp",
    fields=tuple(Field(name, "string") for name in ("Id", "LastName", "SystemModstamp")),
)
SELECT = "SELECT Id, LastName, SystemModstamp FROM Contact"
ORDER = " ORDER BY SystemModstamp, Id LIMIT 2000"
BOB = "003000000000001AAA"


@pytest.mark.parametrize(
    ("given", "stamp"),
    [
        ("2024-01-22T16:26:15.000+0000", "2024-01-22T16:26:15Z"),
        ("2024-01-22T16:26:15.000Z", "2024-01-22T16:26:15Z"),
        ("2024-01-22T16:26:15Z", "2024-01-22T16:26:15Z"),
        ("2024-01-22T16:26:15+00:00", "2024-01-22T16:26:15Z"),
        ("2024-01-22T17:26:15.000+0100", "2024-01-22T16:26:15Z"),
        ("2024-01-22T23:30:00-05:30", "2024-01-23T05:00:00Z"),
        ("2024-01-22T16:26:15.120+0000", "2024-01-22T16:26:15.12Z"),
        ("2024-02-29T00:00:00.000+0000", "2024-02-29T00:00:00Z"),
    ],
)
def test_a_stamp_is_told_in_utc_with_z(given, stamp):
    assert soql.parse_stamp(given) == stamp
    assert soql.parse_stamp(stamp) == stamp


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-01-22",
        "2024-01-22T16:26:15",
        "2024-13-22T16:26:15.000+0000",
        "2024-01-22T16:26:99.000+0000",
        "2024-01-22 OR Id > .000+0000",
        "1=1 OR Id != ''",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        soql.parse_stamp(text)
    with pytest.raises(ValueError, match=r".+"):
        soql.datetime_literal(text)


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("Smith", "'Smith'"),
        ("O'Brien", "'O\\'Brien'"),
        ('say "hi"', "'say \\\"hi\\\"'"),
        ("back\\slash", "'back\\\\slash'"),
        ("' OR Name != '", "'\\' OR Name != \\''"),
        ("\\' OR 1=1", "'\\\\\\' OR 1=1'"),
        ("two\nlines\tand\ra\bb\f", "'two\\nlines\\tand\\ra\\bb\\f'"),
        ("Zoë 漢", "'Zoë 漢'"),
    ],
)
def test_a_text_literal_can_not_be_left_from_inside(text, literal):
    assert soql.text_literal(text) == literal


def test_all_of_an_object_is_asked_for_without_a_condition():
    assert soql.select(CONTACT, "", "SystemModstamp, Id", 2000) == SELECT + ORDER


def test_a_page_goes_on_behind_the_last_row_of_a_tie():
    where = soql.keyset("SystemModstamp", ("2024-01-22T16:26:15.000+0000", BOB))
    assert soql.select(CONTACT, where, "SystemModstamp, Id", 5) == (
        f"{SELECT} WHERE (SystemModstamp = 2024-01-22T16:26:15Z AND Id > '{BOB}') "
        "OR SystemModstamp > 2024-01-22T16:26:15Z ORDER BY SystemModstamp, Id LIMIT 5"
    )


def test_a_query_too_long_for_salesforce_names_the_setting_that_shortens_it():
    fields = tuple(Field(f"A_field_with_a_long_name_{n}__c", "string") for n in range(4000))
    wide = ObjectSchema("Wide__c", "", None, True, "SystemModstamp", fields)
    with pytest.raises(ConfigError, match=r"objects\.Wide__c\.exclude"):
        soql.select(wide, "", "Id", 2000)


def test_ids_are_looked_up_in_one_query():
    assert soql.ids_query("Contact", [BOB, BOB]) == f"SELECT Id FROM Contact WHERE Id IN ('{BOB}', '{BOB}')"


@pytest.mark.parametrize(
    ("stamp", "seconds", "moved"),
    [
        ("2024-01-01T00:00:00Z", -600, "2023-12-31T23:50:00Z"),
        ("2024-02-28T23:59:59Z", 1, "2024-02-29T00:00:00Z"),
        ("2024-01-01T00:00:00.000+0000", 0, "2024-01-01T00:00:00Z"),
        ("0001-01-01T00:00:05Z", -10, "0001-01-01T00:00:00Z"),
    ],
)
def test_stamps_can_be_moved(stamp, seconds, moved):
    assert soql.shift(stamp, seconds) == moved


def test_stamps_with_and_without_a_fraction_are_ordered_in_time():
    whole, later, next_second = "2024-01-01T00:00:15Z", "2024-01-01T00:00:15.5Z", "2024-01-01T00:00:16Z"
    assert soql.earliest(later, None, whole) == whole
    assert soql.latest(whole, later) == later
    assert soql.latest(later, next_second) == next_second
    assert soql.earliest(None, None) is None
