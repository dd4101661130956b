import pytest

from integration.core.catalog import Field
from integration.errors import ConfigError, RunError, UnreachableError, UsageError
from integration.source.faults import QueryTimeoutError, UnknownObjectError
from integration.source.poll import Poller, WatchedObject

TEN = tuple(f"Object{n}" for n in range(10))


@pytest.fixture
def org(little):
    return little.Org()


@pytest.fixture
def sink(little):
    return little.Sink()


@pytest.fixture
def log(little):
    return little.Log()


def poller_of(org, sink, log=None, **more):
    names = more.pop("names", tuple(org.tables))
    return Poller(org, sink, objects=[WatchedObject(name) for name in names], log=log, **more)


def test_the_first_pass_publishes_everything_in_the_order_of_change(org, sink):
    for number in (3, 1, 2):
        org.save(number)
        org.wait(60)
    report = poller_of(org, sink).cycle()
    assert sink.names == ["version 1", "version 2", "version 3"]
    assert (report.rows_read, report.published, report.dropped_as_seen, report.pages) == (3, 3, 0, 1)


def test_a_capture_is_the_record_less_its_attributes_and_names_its_version(org, sink, little):
    key = org.save(1)
    org.wait(5)
    (schema,) = (poller := poller_of(org, sink)).describe()
    poller.cycle()
    (capture,) = sink.captures
    assert capture == {
        "id": f"00D000000000001EAA:Contact:{key}:{little.stamp(0)}",
        "org": "00D000000000001EAA",
        "object": "Contact",
        "record_id": key,
        "system_modstamp": little.stamp(0),
        "is_deleted": False,
        "fields": {
            "Id": key,
            "IsDeleted": False,
            "Name": "version 1",
            "SystemModstamp": little.raw_stamp(0),
            "LastViewedDate": None,
        },
        "schema_id": schema.schema_id,
        "origin": "poll",
        "seen_at": little.stamp(5),
    }
    assert sink.pages[0].schema == schema


def test_a_deleted_record_is_published_as_deleted(org, sink):
    org.save(1, deleted=True)
    poller_of(org, sink).cycle()
    assert sink.captures[0]["is_deleted"] is True


def test_a_quiet_cycle_over_ten_objects_makes_two_calls(little, sink):
    org = little.Org(TEN)
    for name in TEN:
        for number in range(30):
            org.save(number, name=name)
    poller = poller_of(org, sink)
    poller.cycle()
    org.wait(3600)
    org.look()
    poller.cycle()
    org.wait(10)
    report = poller.cycle()
    assert report.calls == 2
    # the tie of thirty rows is old enough not to be read again
    assert (report.rows_read, report.published) == (0, 0)


def test_the_overlap_is_read_again_and_what_was_seen_is_dropped(org, sink):
    org.save(1)
    org.wait(60)
    poller = poller_of(org, sink)
    poller.cycle()
    org.wait(60)
    report = poller.cycle()
    assert (report.rows_read, report.published, report.dropped_as_seen) == (1, 0, 1)


def test_two_commits_in_one_second_are_both_published_under_different_ids(org, sink):
    org.save(1)
    poller = poller_of(org, sink)
    poller.cycle()
    org.save(1)
    poller.cycle()
    poller.cycle()
    assert sink.names == ["version 1", "version 2"]
    first, second = (c["id"] for c in sink.captures)
    assert second.startswith(first + ":")
    assert len(second) == len(first) + 17


def test_a_field_that_tells_only_of_looking_makes_no_new_version(org, sink):
    key = org.save(1)
    poller = poller_of(org, sink)
    poller.cycle()
    org.tables["Contact"][key]["LastViewedDate"] = "2024-01-22T12:00:09.000+0000"
    assert poller.cycle().published == 0


def test_a_commit_that_becomes_visible_late_is_found_in_the_overlap(org, sink):
    org.save(1, open_for=500)
    org.wait(10)
    org.save(2)
    poller = poller_of(org, sink)
    for _ in range(60):
        poller.cycle()
        org.wait(10)
    assert sorted(sink.names) == ["version 1", "version 2"]
    assert not sink.cursors["Contact"].late_seen


def test_a_commit_later_than_the_overlap_is_found_where_nothing_else_was_read_and_widens_the_overlap(org, sink, log):
    org.save(1)
    org.wait(1)
    org.save(2, open_for=2000)
    poller = poller_of(org, sink, log)
    for _ in range(30):
        poller.cycle()
        org.wait(100)
    assert sink.names == ["version 1", "version 2", "version 1"]
    assert len({c["id"] for c in sink.captures}) == 2
    assert sink.cursors["Contact"].late_seen
    (warning,) = log.told
    assert "Contact" in warning
    assert "poll.overlap_seconds" in warning


def test_once_a_late_row_was_seen_the_overlap_counts_back_from_the_last_row(org, sink, log, little):
    org.save(1)
    org.wait(1)
    org.save(2, open_for=2000)
    org.save(3, open_for=4000)
    org.wait(1)
    org.save(4)
    poller = poller_of(org, sink, log)
    for _ in range(60):
        poller.cycle()
        org.wait(100)
    # saved a second before the last row, visible an hour later: only the wider overlap can see them
    assert "version 4" in sink.names
    assert {"version 2", "version 3"} & set(sink.names) == set()
    cursor = sink.cursors["Contact"].model_copy(update={"late_seen": True})
    sink.cursors["Contact"] = cursor
    poller.cycle()
    assert {"version 2", "version 3"} <= set(sink.names)


def test_a_tie_longer_than_a_page_is_read_to_its_end(org, sink):
    for number in range(23):
        org.save(number)
    report = poller_of(org, sink, page_size=5).cycle()
    assert sorted(sink.names) == sorted(f"version {n}" for n in range(1, 24))
    assert report.pages == 5


def test_a_page_the_server_cut_short_goes_on_behind_its_last_row(little, sink):
    org = little.Org(cut_at=3)
    for number in range(10):
        org.save(number)
    poller_of(org, sink, page_size=50).cycle()
    assert len(sink.names) == len(set(sink.names)) == 10


@pytest.mark.parametrize("after_keeping", [False, True])
@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_poller_killed_between_pages_goes_on_where_it_was(org, sink, little, page, after_keeping):
    for number in range(13):
        org.save(number)
        org.wait(7)
    sink.crash_in, sink.crash_after_keeping = page, after_keeping
    with pytest.raises(little.Crash):
        poller_of(org, sink, page_size=3).cycle()
    kept = len(sink.names)
    assert kept == 3 * (page + after_keeping)
    org.queries.clear()
    poller_of(org, sink, page_size=3).cycle()
    assert len(sink.names) == len(set(sink.names)) == 13
    assert (" WHERE " in org.queries[0][0]) == bool(kept)


def test_an_unfinished_pass_covers_only_up_to_its_own_beginning(org, sink, little):
    for number in range(4):
        org.save(number)
    sink.crash_in = 1
    with pytest.raises(little.Crash):
        poller_of(org, sink, page_size=3).cycle()
    cursor = sink.cursors["Contact"]
    assert (cursor.pass_started_at, cursor.covered_until) == (little.stamp(0), None)
    assert cursor.record_id == little.record_id(2)
    org.wait(86_400)
    poller_of(org, sink, page_size=3).cycle()
    unfinished, resumed, anew = (page.cursor for page in (sink.pages[0], sink.pages[1], sink.pages[-1]))
    assert unfinished == cursor
    assert (resumed.pass_started_at, resumed.covered_until) == (None, little.stamp(0))
    # and a second pass follows at once, for what became visible behind the saved position
    assert (anew.pass_started_at, anew.covered_until) == (None, little.stamp(86_400))


def test_the_position_stays_when_the_last_row_is_gone(org, sink, little):
    org.save(1)
    org.wait(5)
    org.save(2)
    poller = poller_of(org, sink)
    poller.cycle()
    org.purge(2)
    org.wait(1)
    poller.cycle()
    assert sink.cursors["Contact"].system_modstamp == little.stamp(5)


def test_marks_are_forgotten_when_they_leave_the_overlap(org, sink):
    for number in range(20):
        org.save(number)
        org.wait(100)
    poller = poller_of(org, sink)
    poller.cycle()
    assert len(sink.marks["Contact"]) == 6
    org.wait(10_000)
    org.look()
    poller.cycle()
    assert sink.marks["Contact"] == {}


def test_another_poller_s_marks_are_read_again(org, sink):
    mine, other = poller_of(org, sink), poller_of(org, sink)
    mine.cycle()
    org.save(1)
    org.wait(1)
    other.cycle()
    assert mine.cycle().published == 0
    assert sink.names == ["version 1"]


def test_rows_without_an_id_or_a_stamp_are_counted_and_left_out(org, sink):
    org.save(1)
    org.save(2)
    org.tables["Contact"]["bad"] = dict(org.tables["Contact"][org.save(3)], SystemModstamp="")
    del org.tables["Contact"][org.save(3)]
    report = poller_of(org, sink).cycle()
    assert report.unreadable == 1
    assert len(sink.names) == 2


def test_a_field_that_went_away_is_noticed_in_the_middle_of_a_cycle(org, sink):
    for number in range(5):
        org.save(number)
    poller = poller_of(org, sink, page_size=2)
    poller.describe()
    org.fields["Contact"].remove("LastViewedDate")
    report = poller.cycle()
    assert report.published == 5
    assert "LastViewedDate" not in sink.captures[0]["fields"]
    assert report.skipped == {}


def test_a_field_that_keeps_going_away_is_given_up_for_this_cycle(org, sink):
    from integration.source.faults import InvalidFieldError

    org.problems["Contact"] = [InvalidFieldError("one."), InvalidFieldError("two.")]
    report = poller_of(org, sink).cycle()
    assert report.skipped == {"Contact": "two."}


def test_a_new_field_published_nothing_by_itself_until_it_is_filled_in(org, sink):
    key = org.save(1)
    poller = poller_of(org, sink)
    poller.cycle()
    org.fields["Contact"].append("Score__c")
    poller.describe()
    assert poller.cycle().published == 0
    org.tables["Contact"][key]["Score__c"] = 7
    poller.cycle()
    assert sink.captures[-1]["fields"]["Score__c"] == 7
    assert sink.pages[-1].schema.field("Score__c") == Field("Score__c", "string", "Score__c")


def test_a_query_that_runs_too_long_is_asked_again_in_smaller_pages(org, sink):
    org.save(1)
    org.problems["Contact"] = [QueryTimeoutError("too long."), QueryTimeoutError("too long.")]
    report = poller_of(org, sink).cycle()
    assert report.published == 1
    assert org.queries[-1][0].endswith("LIMIT 500")
    assert "500 rows" in report.notes[-1]


def test_one_object_s_problem_does_not_keep_the_others_waiting(little, sink):
    org = little.Org(("Contact", "Lead", "Task"))
    for name in org.tables:
        org.save(1, name=name)
    org.problems["Lead"] = [RunError("Salesforce refused Lead.")]
    report = poller_of(org, sink).cycle()
    assert {c["object"] for c in sink.captures} == {"Contact", "Task"}
    assert report.skipped == {"Lead": "Salesforce refused Lead."}


def test_an_object_that_vanishes_is_told_and_no_longer_asked_for(little, sink):
    org = little.Org(("Contact", "Lead"))
    poller = poller_of(org, sink)
    poller.cycle()
    org.problems["Lead"] = [UnknownObjectError("The org has no object 'Lead'.")]
    assert "Lead" in poller.cycle().skipped
    assert "Lead" in poller.cycle().skipped
    assert set(poller.schemas) == {"Contact"}


def test_what_concerns_the_whole_login_ends_the_cycle(org, sink):
    org.problems["Contact"] = [ConfigError("This login may not read anything.")]
    with pytest.raises(ConfigError):
        poller_of(org, sink).cycle()


def test_an_empty_page_that_is_said_to_have_more_does_not_loop(little, sink):
    org = little.Org(cut_at=0)
    org.save(1)
    with pytest.raises(UnreachableError):
        poller_of(org, sink).cycle()


def test_a_cycle_asked_to_stop_leaves_between_pages_and_goes_on_later(org, sink):
    for number in range(10):
        org.save(number)
    poller = poller_of(org, sink, page_size=2)
    report = poller.cycle(should_stop=lambda: len(sink.pages) >= 2)
    assert not report.is_complete
    assert len(sink.names) == 4
    assert poller.cycle().is_complete
    assert len(sink.names) == len(set(sink.names)) == 10


def test_an_object_begun_is_finished_before_later_ones_are_begun(little, sink):
    org = little.Org(TEN)
    for name in TEN:
        for number in range(5 if name == "Object0" else 1):
            org.save(number, name=name)
    report = poller_of(org, sink, page_size=2).cycle()
    finished = [page.cursor.object for page in sink.pages if page.cursor.pass_started_at is None]
    assert finished.index("Object0") < finished.index("Object9")
    assert [len(queries) for queries in org.queries] == [5, 5, 2]
    assert report.pages == 12


def test_a_commit_as_old_as_the_overlap_and_tied_with_the_last_row_is_found(org, sink):
    org.save(5)
    org.save(1, open_for=600)
    poller = poller_of(org, sink)
    poller.cycle()
    org.second = 600  # the commit comes within this second, after the poll
    org.look()
    poller.cycle()
    org.wait(0)
    poller.cycle()
    assert sorted(sink.names) == ["version 1", "version 2"]


def test_a_page_that_was_kept_although_it_seemed_to_fail_is_not_published_again(org, sink, little):
    org.save(1)
    poller = poller_of(org, sink)
    poller.cycle()
    org.save(1)
    sink.crash_in, sink.crash_after_keeping = 0, True
    with pytest.raises(little.Crash):
        poller.cycle()
    poller.cycle()
    assert sink.names == ["version 1", "version 2"]


def test_a_server_clock_that_steps_back_a_little_makes_nothing_be_published_again(org, sink):
    for number in range(20):
        org.save(number)
        org.wait(1)
    org.wait(600 - 10)
    org.look()
    poller = poller_of(org, sink)
    for step in (0, -5, 3, -5, 2):
        org.second += step
        org.look()
        poller.cycle()
        poller.cycle()
    assert len(sink.names) == 20


def test_a_clock_that_was_far_ahead_once_does_not_stop_the_overlap_for_good(org, sink, little):
    org.save(1)
    poller = poller_of(org, sink)
    org.server_time = little.stamp(86_400)
    poller.describe()
    org.server_time = little.stamp(86_400)
    poller.cycle()
    assert sink.cursors["Contact"].covered_until == little.stamp(86_400)
    org.wait(10)
    poller.cycle()
    poller.cycle()
    assert sink.cursors["Contact"].covered_until == little.stamp(10)


# --- which objects ---


def test_a_missing_object_of_the_default_list_is_skipped_with_a_sentence(org, sink):
    poller = poller_of(org, sink, names=("Contact", "Contakt"))
    assert [s.object for s in poller.describe()] == ["Contact"]
    assert "did you mean Contact?" in poller.skipped["Contakt"]
    assert poller.cycle().skipped == dict(poller.skipped)


def test_a_missing_object_that_the_user_named_is_an_error(org, sink):
    poller = Poller(org, sink, objects=[WatchedObject("Contakt", required=True)])
    with pytest.raises(UsageError, match=r"Contakt.*did you mean Contact"):
        poller.cycle()


def test_names_are_taken_in_any_case_and_told_as_the_org_writes_them(org, sink):
    org.save(1)
    poller_of(org, sink, names=("contact",)).cycle()
    assert sink.captures[0]["object"] == "Contact"


def test_an_object_without_a_usable_stamp_is_skipped_with_a_sentence(little, sink):
    org = little.Org(("Contact", "Odd__c"))
    org.fields["Odd__c"].remove("SystemModstamp")
    poller = poller_of(org, sink)
    poller.describe()
    assert "SystemModstamp" in poller.skipped["Odd__c"]


def test_fields_can_be_chosen_and_left_out(org, sink):
    poller = Poller(org, sink, objects=[WatchedObject("Contact", only=("N*",), exclude=("LastViewed*",))])
    (schema,) = poller.describe()
    assert [f.name for f in schema.fields] == ["Id", "IsDeleted", "Name", "SystemModstamp"]


# --- the delete log ---


def test_a_record_gone_for_good_is_published_without_fields(org, sink, little):
    key = org.save(1)
    org.wait(60)
    poller = poller_of(org, sink)
    poller.cycle()
    org.wait(60)
    org.purge(1)
    org.wait(60)
    org.look()
    report = poller.deleted()
    gone = sink.captures[-1]
    assert gone["id"] == f"00D000000000001EAA:Contact:{key}:{little.stamp(120)}"
    assert (gone["fields"], gone["is_deleted"], gone["system_modstamp"]) == (None, True, little.stamp(120))
    assert sink.pages[-1].schema is None
    assert (report.published, report.calls) == (1, 2)
    assert sink.cursors["Contact"].deleted_until == little.stamp(180)


def test_a_deletion_is_published_once_however_often_the_log_is_read(org, sink):
    org.save(1)
    poller = poller_of(org, sink, overlap_seconds=5)
    poller.cycle()
    org.wait(30)
    org.purge(1)
    for _ in range(20):
        poller.deleted()
        org.wait(10)
        poller.cycle()
    assert len(sink.captures) == 2


def test_a_record_in_the_bin_is_left_to_the_ordinary_poll(org, sink):
    org.save(1)
    org.save(2)
    poller = poller_of(org, sink)
    poller.cycle()
    org.wait(10)
    org.save(1, deleted=True)
    org.log["Contact"] += [(k, r["SystemModstamp"]) for k, r in org.tables["Contact"].items() if r["IsDeleted"]]
    report = poller.deleted()
    assert (report.published, report.dropped_as_seen) == (0, 1)


def test_a_restored_record_is_not_called_deleted(org, sink, little):
    key = org.save(1)
    poller = poller_of(org, sink)
    poller.cycle()
    org.log["Contact"].append((key, little.raw_stamp(0)))
    assert poller.deleted().published == 0


def test_a_record_seen_deleted_by_the_poll_needs_no_second_look(org, sink):
    key = org.save(1, deleted=True)
    org.log["Contact"].append((key, org.tables["Contact"][key]["SystemModstamp"]))
    poller = poller_of(org, sink)
    poller.cycle()
    report = poller.deleted()
    assert (report.calls, report.published, report.dropped_as_seen) == (1, 0, 1)


def test_the_first_window_reaches_back_a_day_and_the_next_a_minute(org, sink, little):
    poller = poller_of(org, sink)
    org.wait(86_400)
    poller.cycle()
    poller.deleted()
    org.wait(300)
    org.look()
    poller.deleted()
    assert org.windows == [
        (little.stamp(-60), little.stamp(86_460)),
        (little.stamp(86_340), little.stamp(86_760)),
    ]


def test_objects_never_polled_are_only_asked_for_open_transactions(org, sink, little):
    org.save(1, open_for=4000)
    org.wait(1000)
    org.purge(1)
    poller = poller_of(org, sink)
    poller.describe()
    assert poller.deleted().calls == 1
    assert org.windows == [(little.stamp(940), little.stamp(1060))]
    assert sink.pages == []
    poller.cycle()
    assert sink.cursors["Contact"].open_since == little.stamp(0)


def test_a_log_that_no_longer_reaches_back_is_told_and_read_as_far_as_it_goes(org, sink, little):
    org.save(1)
    poller = poller_of(org, sink)
    poller.cycle()
    poller.deleted()
    org.wait(10 * 86_400)
    org.purge(1)
    org.log_reaches_back_to = org.second - 7200
    org.look()
    report = poller.deleted()
    assert report.published == 1
    (note,) = report.notes
    assert "`headrace sweep Contact`" in note
    assert sink.cursors["Contact"].deleted_until == little.stamp(10 * 86_400)


def test_after_a_pause_of_weeks_the_window_stays_within_fifteen_days(org, sink, little):
    poller = poller_of(org, sink)
    poller.cycle()
    poller.deleted()
    org.wait(40 * 86_400)
    org.look()
    report = poller.deleted()
    assert org.windows[-1][0] == little.stamp(25 * 86_400 + 120)
    assert "`headrace sweep Contact`" in report.notes[0]


def test_many_deletions_are_looked_up_five_packets_to_a_call(org, sink):
    for number in range(2500):
        org.save(number)
    poller = poller_of(org, sink)
    poller.cycle()
    org.wait(1)
    for number in range(2400):
        org.purge(number)
    report = poller.deleted()
    assert report.published == 2400
    assert report.calls == 1 + 3
    assert [len(page.captures) for page in sink.pages[-2:]] == [2000, 400]


def test_a_poller_killed_between_two_pages_of_deletions_loses_none_and_repeats_none(org, sink, little):
    for number in range(2500):
        org.save(number)
    poller = poller_of(org, sink)
    poller.cycle()
    org.wait(1)
    for number in range(2500):
        org.purge(number)
    org.wait(500)
    org.look()
    sink.crash_in = 1
    with pytest.raises(little.Crash):
        poller.deleted()
    poller_of(org, sink, names=("Contact",)).cycle()
    poller.deleted()
    gone = [c["record_id"] for c in sink.captures if c["fields"] is None]
    assert len(gone) == len(set(gone)) == 2500
