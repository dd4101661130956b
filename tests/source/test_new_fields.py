"""When a field appears, comes back or gets another type, the records in which it is filled are read again: once, in
pages, and from where it was when the poller died."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import UsageError
from integration.sandbox.clock import VirtualClock
from integration.sandbox.model import FieldDef
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.source.client import SalesforceClient
from integration.source.credentials import Connection
from integration.source.faults import InvalidFieldError, QueryTimeoutError, RunError
from integration.source.poll import Poller, WatchedObject


@pytest.fixture
def org(little):
    return little.Org()


@pytest.fixture
def sink(little):
    return little.Sink()


def poller_of(org, sink, little, **more):
    return Poller(org, sink, objects=[WatchedObject(name) for name in org.tables], log=little.Log(), **more)


def old_records(org, count: int, name: str = "Contact") -> None:
    """Records that have left the overlap when the next cycle comes."""
    for number in range(count):
        org.save(number, name=name)
    org.wait(86_400)
    org.look()


def show(org, field: str, values: dict[int, object], little, name: str = "Contact", kind: str = "string") -> None:
    org.fields[name].append(field)
    org.types[field] = kind
    for number, value in values.items():
        org.tables[name][little.record_id(number)][field] = value


def filled(sink, field: str) -> dict[str, object]:
    return {c["record_id"]: c["fields"][field] for c in sink.captures if c["fields"].get(field) is not None}


def test_records_in_which_a_new_field_is_filled_are_published_again_and_only_those(org, sink, little):
    old_records(org, 10)
    poller = poller_of(org, sink, little)
    poller.cycle()
    cursor = sink.cursors["Contact"]
    show(org, "Score__c", {2: 7, 5: 0, 8: False}, little)
    (changed,) = poller.refresh_schemas()
    report = poller.cycle()
    again = sink.captures[10:]
    assert [(c["record_id"], c["fields"]["Score__c"]) for c in again] == [
        (little.record_id(2), 7),
        (little.record_id(5), 0),
        (little.record_id(8), False),
    ]
    first = {c["record_id"]: c["id"] for c in sink.captures[:10]}
    for capture in again:
        assert capture["origin"] == "backfill"
        assert capture["schema_id"] == changed.schema_id
        assert capture["id"].startswith(first[capture["record_id"]] + ":")
    assert (report.rows_read, report.published) == (3, 3)
    end = sink.cursors["Contact"]
    assert (end.schema_id, end.filling, end.fill_after) == (changed.schema_id, (), "")
    # reading again has not moved the position
    assert (end.system_modstamp, end.record_id) == (cursor.system_modstamp, cursor.record_id)
    assert poller.cycle().rows_read == 0


def test_a_new_poller_notices_what_changed_while_none_was_running(org, sink, little):
    old_records(org, 4)
    poller_of(org, sink, little).cycle()
    show(org, "Score__c", {1: 7}, little)
    poller_of(org, sink, little).cycle()
    assert filled(sink, "Score__c") == {little.record_id(1): 7}
    assert poller_of(org, sink, little).cycle().rows_read == 0


@pytest.mark.parametrize(("unfilterable", "kind"), [(True, "textarea"), (False, "boolean")])
def test_where_a_field_can_t_be_asked_for_all_records_are_read_and_the_empty_ones_left_out(
    org, sink, little, unfilterable, kind
):
    old_records(org, 10)
    poller = poller_of(org, sink, little)
    poller.cycle()
    show(org, "Notes__c", {3: "long"}, little, kind=kind)
    org.unfilterable |= {"Notes__c"} if unfilterable else set()
    poller.refresh_schemas()
    report = poller.cycle()
    assert (report.rows_read, report.published) == (10, 1)
    assert not any("!= null" in q for queries in org.queries for q in queries)


def test_several_objects_are_filled_in_one_call(little, sink):
    names = tuple(f"Object{n}" for n in range(5))
    org = little.Org(names)
    for name in names:
        old_records(org, 3, name)
    poller = poller_of(org, sink, little)
    poller.cycle()
    for name in names:
        show(org, "Score__c", {1: name}, little, name)
    poller.refresh_schemas()
    assert poller.cycle().calls == 2
    assert sorted(c["object"] for c in sink.captures[15:]) == sorted(names)


@pytest.mark.parametrize("after_keeping", [False, True])
@pytest.mark.parametrize("page", [0, 1, 2, 3])
def test_a_poller_killed_while_it_fills_goes_on_where_it_was(org, sink, little, page, after_keeping):
    old_records(org, 9)
    poller_of(org, sink, little).cycle()
    show(org, "Score__c", dict.fromkeys(range(9), "filled"), little)
    sink.crash_in, sink.crash_after_keeping = page, after_keeping
    with pytest.raises(little.Crash):
        poller_of(org, sink, little, page_size=3).cycle()
    sink.crash_in = None
    for _ in range(2):
        poller_of(org, sink, little, page_size=3).cycle()
    again = [c["record_id"] for c in sink.captures[9:]]
    assert sorted(again) == sorted(little.record_id(n) for n in range(9))


def test_a_record_that_lies_in_the_overlap_is_published_once(org, sink, little):
    old_records(org, 3)
    for number in (10, 11):
        org.save(number)
    poller = poller_of(org, sink, little)
    poller.cycle()
    show(org, "Score__c", dict.fromkeys((0, 10, 11), "filled"), little)
    poller.refresh_schemas()
    for _ in range(5):
        org.wait(30)
        org.look()
        poller.cycle()
    again = sink.captures[5:]
    assert sorted(c["record_id"] for c in again) == sorted(little.record_id(n) for n in (0, 10, 11))
    assert len({c["id"] for c in sink.captures}) == len(sink.captures) == 8


def test_a_record_that_changes_while_it_is_filled_is_published_once(org, sink, little):
    old_records(org, 6)
    poller = poller_of(org, sink, little, page_size=2)
    poller.cycle()
    show(org, "Score__c", dict.fromkeys(range(6), "filled"), little)
    poller.refresh_schemas()
    todo = [None, lambda: org.save(3, Score__c="anew")]
    org.between = lambda: (todo.pop(0) or (lambda: None))() if todo else None
    for _ in range(3):
        poller.cycle()
        org.wait(30)
        org.look()
    assert sum(c["fields"]["Name"] == "version 7" for c in sink.captures) == 1
    assert len({c["id"] for c in sink.captures}) == len(sink.captures)


def test_a_field_that_goes_and_comes_back_is_filled_again(org, sink, little):
    old_records(org, 3)
    poller = poller_of(org, sink, little)
    show(org, "Score__c", {1: 7}, little)
    poller.describe()
    poller.cycle()
    org.fields["Contact"].remove("Score__c")
    poller.refresh_schemas()
    poller.cycle()
    assert len(sink.captures) == 3
    org.tables["Contact"][little.record_id(2)]["Score__c"] = 8
    org.fields["Contact"].append("Score__c")
    poller.refresh_schemas()
    poller.cycle()
    assert filled(sink, "Score__c") == {little.record_id(1): 7, little.record_id(2): 8}


def test_all_records_are_read_for_a_field_of_another_column_type_also_those_it_is_empty_in(org, sink, little):
    old_records(org, 3)
    poller = poller_of(org, sink, little)
    show(org, "Score__c", {1: "7", 2: "many"}, little)
    poller.describe()
    poller.cycle()
    org.types |= {"Score__c": "double"}
    org.tables["Contact"][little.record_id(1)]["Score__c"] = 7
    org.tables["Contact"][little.record_id(2)]["Score__c"] = None
    (changed,) = poller.refresh_schemas()
    report = poller.cycle()
    assert report.published == 3
    assert {c["record_id"]: c["fields"]["Score__c"] for c in sink.captures[-3:]} == {
        little.record_id(n): 7 if n == 1 else None for n in range(3)
    }
    assert sink.cursors["Contact"].schema_id == changed.schema_id


def test_a_field_of_another_type_in_the_same_column_is_read_again_too_for_it_may_be_another_field(org, sink, little):
    old_records(org, 3)
    poller = poller_of(org, sink, little)
    show(org, "Color__c", {2: "red"}, little)
    poller.describe()
    poller.cycle()
    org.types |= {"Color__c": "picklist"}
    (changed,) = poller.refresh_schemas()
    report = poller.cycle()
    assert report.published == 3
    assert sink.cursors["Contact"].schema_id == changed.schema_id


def test_a_field_that_appears_while_another_is_being_filled_is_filled_too(org, sink, little):
    old_records(org, 9)
    poller = poller_of(org, sink, little, page_size=2)
    poller.cycle()
    show(org, "First__c", dict.fromkeys(range(9), "one"), little)
    poller.refresh_schemas()
    # stopped in the middle of filling
    pages = len(sink.pages)
    poller.cycle(should_stop=lambda: len(sink.pages) >= pages + 3)
    assert sink.cursors["Contact"].filling == ("First__c",)
    show(org, "Second__c", dict.fromkeys(range(9), "two"), little)
    poller.refresh_schemas()
    poller.cycle()
    assert len(filled(sink, "First__c")) == len(filled(sink, "Second__c")) == 9


def test_a_field_that_goes_while_it_is_being_filled_is_forgotten(org, sink, little):
    old_records(org, 9)
    poller = poller_of(org, sink, little, page_size=2)
    poller.cycle()
    show(org, "First__c", dict.fromkeys(range(9), "one"), little)
    poller.refresh_schemas()
    pages = len(sink.pages)
    poller.cycle(should_stop=lambda: len(sink.pages) >= pages + 3)
    org.fields["Contact"].remove("First__c")
    report = poller.cycle()
    assert report.skipped == {}
    assert sink.cursors["Contact"].filling == ()
    org.fields["Contact"].append("First__c")
    poller.refresh_schemas()
    poller.cycle()
    assert len(filled(sink, "First__c")) == 9


def test_a_field_that_is_missed_in_the_middle_of_a_cycle_leads_to_the_same(org, sink, little):
    old_records(org, 5)
    poller = poller_of(org, sink, little)
    poller.cycle()
    org.fields["Contact"].remove("LastViewedDate")
    show(org, "Score__c", {1: 7}, little)
    report = poller.cycle()
    assert report.skipped == {}
    assert filled(sink, "Score__c") == {little.record_id(1): 7}
    assert sink.cursors["Contact"].filling == ()


def test_a_first_reading_that_was_interrupted_by_a_new_field_is_made_good(org, sink, little):
    for number in range(9):
        org.save(number)
        org.wait(1000)
    org.look()
    poller = poller_of(org, sink, little, page_size=3)
    poller.cycle(should_stop=lambda: len(sink.pages) >= 2)
    show(org, "Score__c", dict.fromkeys(range(9), "filled"), little)
    poller_of(org, sink, little, page_size=3).cycle()
    assert len(filled(sink, "Score__c")) == 9


def test_a_description_nobody_knows_any_more_fills_nothing(org, sink, little):
    old_records(org, 3)
    poller_of(org, sink, little).cycle()
    sink.schemas.clear()
    show(org, "Score__c", {1: 7}, little)
    report = poller_of(org, sink, little).cycle()
    assert report.published == 0
    assert sink.cursors["Contact"].schema_id is not None


def test_a_query_for_filled_fields_that_is_too_slow_becomes_one_by_id(org, sink, little):
    old_records(org, 5)
    poller = poller_of(org, sink, little)
    poller.cycle()
    show(org, "Score__c", {1: 7}, little)
    poller.refresh_schemas()
    org.between = lambda: org.problems.setdefault("Contact", [QueryTimeoutError("too long.")])
    report = poller.cycle()
    assert filled(sink, "Score__c") == {little.record_id(1): 7}
    assert "read for the new fields" in report.notes[0]
    assert org.queries[-1][0].endswith("FROM Contact ORDER BY Id LIMIT 2000")


def test_filling_that_is_refused_is_told_and_tried_again_in_the_next_cycle(org, sink, little):
    old_records(org, 5)
    poller = poller_of(org, sink, little)
    poller.cycle()
    show(org, "Score__c", {1: 7}, little)
    poller.refresh_schemas()
    org.between = lambda: org.problems.setdefault("Contact", [RunError("Salesforce refused Contact.")])
    assert poller.cycle().skipped == {"Contact": "Salesforce refused Contact."}
    org.between = lambda: None
    assert poller.cycle().published == 1


# --- objects that come and go ---


def test_refreshing_tells_what_changed_and_what_came_or_went(little, sink):
    org = little.Org(("Contact", "Lead", "Task"))
    poller = poller_of(org, sink, little)
    org.hidden = {"Task"}
    poller.describe()
    assert poller.refresh_schemas() == []
    org.hidden = {"Lead"}
    org.fields["Contact"].append("Score__c")
    assert [s.object for s in poller.refresh_schemas()] == ["Contact", "Task"]
    assert list(poller.skipped) == ["Lead"]
    org.hidden = set()
    assert [s.object for s in poller.refresh_schemas()] == ["Lead"]
    assert dict(poller.skipped) == {}


def test_an_object_that_comes_back_is_gone_on_with(little, sink):
    org = little.Org(("Contact", "Lead"))
    org.save(1, name="Lead")
    poller = poller_of(org, sink, little)
    poller.cycle()
    org.hidden = {"Lead"}
    org.wait(3600)
    org.look()
    assert "Lead" in poller.cycle().skipped
    org.save(2, name="Lead")
    org.hidden = set()
    poller.refresh_schemas()
    assert poller.cycle().skipped == {}
    assert sink.names == ["version 1", "version 2"]


def test_an_object_that_the_user_named_must_be_there_at_the_start_and_may_go_later(little, sink):
    org = little.Org(("Contact", "Lead"))
    watched = [WatchedObject("Contact", required=True), WatchedObject("Lead", required=True)]
    org.hidden = {"Lead"}
    with pytest.raises(UsageError, match="Lead"):
        Poller(org, sink, objects=watched, log=little.Log()).describe()
    org.hidden = set()
    poller = Poller(org, sink, objects=watched, log=little.Log())
    poller.cycle()
    org.hidden = {"Lead"}
    org.save(1)
    report = poller.cycle()
    assert "Lead" in report.skipped
    assert report.published == 1
    poller.refresh_schemas()
    assert "Lead" in poller.cycle().skipped


def test_a_field_that_keeps_going_away_does_not_stop_the_others(little, sink):
    org = little.Org(("Contact", "Lead"))
    org.save(1, name="Lead")
    org.problems["Contact"] = [InvalidFieldError("one."), InvalidFieldError("two.")]
    report = poller_of(org, sink, little).cycle()
    assert report.skipped == {"Contact": "two."}
    assert report.published == 1


# --- at random ---

FIELDS = ("One__c", "Two__c", "Three__c")
changes = st.one_of(
    st.tuples(st.just("save"), st.integers(0, 6), st.sampled_from(FIELDS), st.sampled_from([None, "a", "b"])),
    st.tuples(st.just("save"), st.integers(0, 6), st.sampled_from(FIELDS), st.sampled_from([None, "a", "b"])),
    st.tuples(st.just("show"), st.sampled_from(FIELDS)),
    st.tuples(st.just("hide"), st.sampled_from(FIELDS)),
    st.tuples(st.just("wait"), st.sampled_from([1, 30, 1000])),
    st.tuples(st.just("cycle"), st.integers(1, 3)),
    st.tuples(st.just("stop"), st.integers(1, 3)),
    st.tuples(st.just("crash"), st.integers(0, 3), st.booleans()),
)


def missed(org, sink) -> list[tuple[str, str]]:
    """What is shown and filled, and has another value in the captures so far."""
    known: dict[str, dict] = {}
    for capture in sink.captures:
        known.setdefault(capture["record_id"], {}).update(capture["fields"])
    return [
        (row["Id"], field)
        for row in org.tables["Contact"].values()
        for field in org.fields["Contact"]
        if row.get(field) is not None and known.get(row["Id"], {}).get(field) != row[field]
    ]


@settings(max_examples=200, deadline=None)
@given(history=st.lists(changes, min_size=5, max_size=30))
def test_whatever_comes_and_goes_no_filled_field_that_is_shown_is_missed(little, history):
    org, sink = little.Org(), little.Sink()
    for step in [*history, ("cycle", 2)]:
        match step:
            case ("save", number, field, value):
                row = org.tables["Contact"].get(little.record_id(number), {})
                org.save(number, **{f: row.get(f) for f in FIELDS} | {field: value})
            case ("show", field) if field not in org.fields["Contact"]:
                org.fields["Contact"].append(field)
            case ("hide", field) if field in org.fields["Contact"]:
                org.fields["Contact"].remove(field)
            case ("wait", seconds):
                org.wait(seconds)
            case ("stop", page_size):
                pages = len(sink.pages)
                poller_of(org, sink, little, page_size=page_size).cycle(should_stop=lambda: len(sink.pages) > pages)  # noqa: B023
            case ("crash", page, after_keeping):
                sink.crash_in, sink.crash_after_keeping = page, after_keeping
                with suppress(little.Crash):
                    poller_of(org, sink, little, page_size=2).cycle()
                sink.crash_in = None
            case ("cycle", page_size):
                poller_of(org, sink, little, page_size=page_size).cycle()
                assert missed(org, sink) == []
        org.look()
    ids = [c["id"] for c in sink.captures]
    assert sink.cursors["Contact"].filling == ()
    assert len(ids) >= len(org.tables["Contact"])


def test_in_the_sandbox_new_shown_and_retyped_fields_arrive_with_their_values(little):
    org = Org(clock=VirtualClock(datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)))
    sink = little.Sink()
    org.add_field("Contact", FieldDef("Size__c", "string", length=40))
    keys = [org.insert("Contact", {"LastName": f"Name {n}", "Title": f"Title {n}"}) for n in range(30)]
    org.update("Contact", keys[4], {"Size__c": "12"})
    org.hide_field("Contact", "Title")
    with SandboxServer(org) as server:
        connection = Connection(base_url=server.url, consumer_key="sandbox-key", consumer_secret="sandbox-secret")
        client = SalesforceClient(connection)
        poller = Poller(client, sink, objects=[WatchedObject("Contact")], page_size=7, log=little.Log())
        poller.cycle()
        org.clock.advance(3600)
        org.add_field("Contact", FieldDef("Fresh__c", "string", length=40))
        org.add_field("Contact", FieldDef("Flag__c", "boolean"))
        org.show_field("Contact", "Title")
        org.retype_field("Contact", "Size__c", "double", precision=18, scale=2)
        org.update("Contact", keys[3], {"Fresh__c": "new"})
        org.clock.advance(300)
        client.limits()
        poller.refresh_schemas()
        report = poller.cycle()
        assert poller.cycle().published == 0
    assert report.skipped == {}
    last = {c["record_id"]: c["fields"] for c in sink.captures}
    for key in keys:
        record = org.get("Contact", key)
        assert last[key] == {name: record[name] for name in last[key]}
        assert {"Title", "Fresh__c", "Flag__c"} <= set(last[key])
    assert last[keys[4]]["Size__c"] == 12
    assert sum(c["origin"] == "backfill" for c in sink.captures) == 30
