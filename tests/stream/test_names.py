import pytest

from integration.stream import names


def test_an_object_has_a_stream_a_dead_stream_and_two_keys() -> None:
    assert names.stream_of("Contact") == "crm.contact"
    assert names.stream_of("cbit__Clearbit__c") == "crm.cbit__clearbit__c"
    assert names.dead_of("crm.contact") == "crm.contact.dead"
    assert names.alive_of("crm.contact.dead") == "crm.contact" == names.alive_of("crm.contact")
    assert names.cursor_key("Contact") != names.seen_key("Contact")


def test_offsets_compare_as_redis_does_and_not_as_text() -> None:
    offsets = ["9-1", "10-0", "10-2", "10-10", "1795323942655-0"]
    assert sorted(("10-10", "1795323942655-0", "10-2", "9-1", "10-0"), key=names.offset_key) == offsets
    assert names.offset_key("17") == (17, 0)


@pytest.mark.parametrize("text", ["", "-", "1-", "-1", "1-x", "$", "1-2-3", " 1-0", "1.5-0", "²-0"])
def test_what_is_no_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an entry id"):
        names.offset_key(text)


def test_an_offset_tells_when_the_entry_came() -> None:
    assert names.offset_time("1795323942655-0") == "2026-11-22T05:05:42.655Z"
    assert names.offset_time("0-1") is None
    assert names.offset_time("18446744073709551615-0") is None
    assert names.offset_time("soon") is None


def test_only_our_own_streams_are_ours() -> None:
    assert names.is_ours("crm.contact")
    assert names.is_ours("product.events.dead")
    assert not names.is_ours("celery")
    assert not names.is_ours("product.eventsourcing")
