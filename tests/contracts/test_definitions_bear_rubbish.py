"""Whatever stands in the folder of definitions: what is wrong is told in a sentence, and the rest is worked out."""

from pathlib import Path

import pytest
from batches import BODIES, FIRST, Stream, product_event, record
from defined import World, only, person

from consumers.apply import Flattener
from consumers.members import MERGED, Defined, Ran, arm_of
from consumers.rules import Rules
from integration.errors import ConfigError
from integration.settings import load
from integration.settings_sources import SECRETS_VARIABLE
from integration.store.answers import ask
from integration.store.definitions.book import bound
from integration.store.definitions.conditions import KINDS as SPOKEN_OF
from integration.store.definitions.conditions import Ref
from integration.store.protocol import Store
from integration.wiring import definitions
from schemas.definitions import KINDS, Definition

pytestmark = pytest.mark.slow_on("clickhouse", "postgres")


def read(folder: Path, **files: str | bytes) -> Defined:
    """Write files (`audiences__x.toml`) and read the folder."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_toml", ".toml").replace("_csv", ".csv")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return definitions.read_folder(folder)


FILES: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"title = ", "it is not valid TOML"),
    "no text": (b"\xff\xfe\x00", "it can't be read: it is not UTF-8 text."),
    "empty": (b"", "title: Field required."),
    "wrong types": (b"title = 3", "title: Input should be a valid string."),
    "another subject": (b"title = 'x'\nof = 'lead'", "of: Input should be 'user', 'account' or 'salesforce_user'."),
    "unknown key": (b"title = 'x'\nwher = 'true'", "there is no key wher. Did you mean where?"),
    "events of nothing": (b"title = 'x'\nevents.a.event = []", "events.a.event: Value should have at least 1 item"),
    "events not there": (b"title = 'x'\nevents.a = {event = 'A', after = 'b'}", "there is no events.b."),
    "events in a circle": (
        b"title = 'x'\nevents.a = {event = 'A', after = 'b'}\nevents.b = {event = 'B', undone_by = 'a.last_at'}",
        "events.b.undone_by: String should match pattern",
    ),
    "events of each other": (
        b"title = 'x'\nevents.a = {event = 'A', after = 'b'}\nevents.b = {event = 'B', undone_by = 'a'}",
        "events count from each other on: ",
    ),
    "days for ever": (b"title = 'x'\nevents.a = {event = 'A', days = 99999999}", "events.a.days: Input should be less"),
    "a huge number": (b"title = 'x'\nevents.a = {event = 'A', days = " + b"9" * 5_000 + b"}", "it is not valid TOML"),
    "nested too deeply": (b"a = " + b"[" * 100_000, "it is not valid TOML"),
    "U+0000": (b'title = "a\\u0000b"', "a text of it holds the character U+0000"),
    "two of a key": (b"title = 'x'\ntitle = 'y'", "it is not valid TOML: Cannot overwrite a value"),
    "too large": (b"title = '" + b"x" * 10_000_001 + b"'", "it is larger than 10 MB."),
    "a condition too long": (b"title = 'x'\nwhere = '" + b"a OR " * 9_000 + b"a'", "where: String should have at most"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_can_not_be_read_is_told_and_the_others_count(name: str, tmp_path: Path) -> None:
    body, sentence = FILES[name]
    found = read(tmp_path, audiences__bad_toml=body, audiences__good_toml="title = 'Good'")
    assert [*found.definitions] == [("audience", "good")]
    assert [*found.problems] == [("audience", "bad")]
    told = found.problems[Ref("audience", "bad")]
    assert told.startswith("audiences/bad.toml: ")
    assert sentence in told
    assert "\n" not in told


NUMBERS = ("inf", "-inf", "nan")


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_is_none_is_refused(number: str, tmp_path: Path) -> None:
    signal = f"title = 'x'\nsignals = [{{name = 's', where = 'true', weight = {number}}}]"
    metric = f"metrics = [{{name = 'm', value = '1', low = {number}, high = 2}}]"
    found = read(
        tmp_path, personas__p_toml=signal, health__h_toml=f"title = 'x'\ngroups = [{{name = 'g', {metric}}}]",
        cohorts__c_toml=f"title = 'x'\narms = {{a = {number}}}",
    )  # fmt: skip
    assert found.definitions == {}
    assert len(found.problems) == 3


def test_marks_of_order_windows_newlines_and_any_letters_are_fine(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        audiences__one_toml='\ufefftitle = \'Größe 馬 😀\'\r\nwhere = """\r\nemail LIKE \'%ü%\'\r\n"""\r\n',
        lists__sheet_csv="\ufeffE-Mail;Email;User_ID\r\nx;@Ann@Example.COM ;\r\n;; u-1\r\n",
        lists__other_csv='email\r\n"bo@example.com"\r\n',
    )
    assert found.problems == {}
    assert found.definitions[Ref("audience", "one")].title == "Größe 馬 😀"
    assert found.lists == {
        "sheet.csv": [("email", "ann@example.com"), ("user_id", "u-1")],
        "other.csv": [("email", "bo@example.com")],
    }


LISTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "none of its columns is one of email,"),
    "without a header": (b"ann@example.com\n", "none of its columns is one of email,"),
    "a field without end": (b"email\n" + b"a" * 100_000, "has more than 1,000 characters"),
    "an open quote": (b'email\n"ann@example.com\nbo@example.com\n', "is no CSV: unexpected end of data"),
    "no text": (b"email\n\xff\n", "it is not UTF-8 text."),
    "U+0000": (b"email\na\x00b@example.com\n", "U+0000"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_can_not_be_read_is_told_and_nobody_goes_on_without_it(name: str, tmp_path: Path) -> None:
    body, sentence = LISTS[name]
    found = read(tmp_path, lists__bad_csv=body, audiences__mail_toml="title = 'x'\nexclude = 'lists/bad.csv'")
    assert sentence in found.problems[Ref("list", "bad")]
    book, wrong = bound(found.definitions, found.lists)
    assert book.definitions == {}
    assert wrong[Ref("audience", "mail")] == "There is no list lists/bad.csv."


def test_what_lies_where_nothing_is_looked_for_is_told(tmp_path: Path) -> None:
    found = read(
        tmp_path, audience__one_toml="title = 'x'", two_toml="title = 'x'", notes__readme="hello",
        audiences__Upper_toml="title = 'x'",
    )  # fmt: skip
    assert found.definitions == {}
    assert found.problems[Ref("folder", "audience")].startswith(
        "audience: no kind of definition lies there. Did you mean"
    )
    assert found.problems[Ref("file", "two.toml")].startswith("two.toml: definitions lie in folders by their kind: ")
    assert "rename the file" in found.problems[Ref("audience", "Upper")]
    assert len(found.problems) == 3


def test_a_file_that_can_not_be_read_stands_for_what_a_pack_calls_by_the_same_name() -> None:
    ref, other = Ref("audience", "one"), Ref("audience", "other")
    one, two = (KINDS["audience"].model_validate({"title": name}) for name in ("pack", "folder"))
    pack = Defined({ref: one, other: one}, {"a.csv": []}, {Ref("list", "b"): "spoilt"})
    over = definitions._over(pack, Defined({other: two}, {"b.csv": []}, {ref: "spoilt"}))
    assert over.definitions == {other: two}
    assert over.problems == {ref: "spoilt"}
    assert over.lists == {"a.csv": [], "b.csv": []}


def test_every_kind_has_its_folder_and_only_members_are_spoken_of() -> None:
    assert definitions.FOLDERS.keys() == KINDS.keys()
    assert {*SPOKEN_OF} == {*KINDS} - {"funnel"}
    assert len({kind[:2] for kind in KINDS}) == len(KINDS)


def test_a_folder_that_was_named_and_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[definitions]\nfolder = "nowhere"\n')
    named = load(tmp_path / "headrace.toml", {SECRETS_VARIABLE: ""})
    with pytest.raises(ConfigError, match="There is no folder"):
        definitions.read(named)


CONDITIONS = (
    "no_such_column > 1",
    "usage_percent >",
    "usage_percent > 1) OR (true",
    "usage_percent > 1; DROP TABLE users",
    "DELETE FROM users",
    "no_such_function(usage_percent)",
    "usage_percent > (SELECT count(*) FROM no_such_table)",
    "asked.tims > 1",
    "unasked.times > 1",
    "audience.nobody",
    "audience.bad10",
    "usage_percent > ?",
    "usage_percent > $1",
    "*",
    "count(*) > 1",
    "usage_percent, 1",
    "(" * 2_000 + "true" + ")" * 2_000,
    " OR ".join(["NOT usage_percent > 1"] * 700) + " AND nothing",
    "usage_percent" + " + 1 - 1" * 300 + " > 0",
    # What has effects, in one store or another, and clocks that are not that of the run.
    "nextval('s') > 0",
    "setval('s', 1) > 0",
    "pg_catalog.set_config('statement_timeout', '1', false) = '1'",
    "pg_terminate_backend(1)",
    "pg_sleep(0) IS NULL",
    "usage_percent > (SELECT count(*) FROM enable_logging('QueryLog'))",
    "usage_percent > (SELECT count(*) FROM read_csv('/etc/hostname'))",
    "usage_percent > (SELECT max(usage_percent) FROM users FOR UPDATE)",
    "current_time > '00:00:00'",
    "get_current_time() > '00:00:00'",
    "clock_timestamp() > now()",
    "age(now()) > INTERVAL 1 DAY",
)


def test_every_clock_of_a_condition_is_the_time_of_the_run(world: World) -> None:
    world.people(person("ann"))
    clocks = ["now()", "current_timestamp", "get_current_timestamp()", "transaction_timestamp()"]
    local = ["localtimestamp", "current_localtimestamp()"]
    at = [f"{clock} = TIMESTAMPTZ '2026-03-01T00:00:00Z'" for clock in clocks]
    at += [f"{clock} = TIMESTAMP '2026-03-01 00:00:00'" for clock in local]
    at += [f"{clock} = DATE '2026-03-01'" for clock in ("current_date", "today()")]
    for number, where in enumerate(at):
        world.define("audience", f"a{number}", where=where)
    assert world.run("2026-03-01T00:00:00Z").problems == {}
    assert [where for number, where in enumerate(at) if not world.members("audience", f"a{number}")] == []


def test_the_outcomes_of_a_health_are_read_too() -> None:
    metric = {"name": "n", "value": "1", "high": 1}
    told = {"title": "h", "groups": [{"name": "g", "metrics": [metric]}]}
    health = {
        Ref("health", name): KINDS["health"].model_validate({**told, "outcomes": {"won": won}})
        for name, won in (("bad", "((("), ("spoken", "audience.x"), ("good", "name = 'Renewed'"))
    }
    book, wrong = bound({**health, Ref("audience", "x"): KINDS["audience"].model_validate({"title": "x"})}, [])
    assert wrong.keys() == {("health", "bad"), ("health", "spoken")}
    assert "is no condition" in wrong[Ref("health", "bad")]
    assert wrong[Ref("health", "spoken")] == "`audience.x` is about one event, and can't speak of audience x."
    assert ("health", "good") in book.definitions


def test_of_whom_a_definition_tells_is_said_in_english() -> None:
    made = {
        Ref("audience", "people"): KINDS["audience"].model_validate({"title": "p"}),
        Ref("audience", "firms"): KINDS["audience"].model_validate({"title": "f", "of": "account", "within": "people"}),
    }
    assert bound(made, [])[1] == {
        ("audience", "firms"): "It is about an account, and audience people about a user."
    }  # fmt: skip


def test_a_list_that_can_name_nobody_of_an_audience_is_refused(tmp_path: Path) -> None:
    leaves_out = "title = 'x'\nof = 'account'\nexclude = 'lists/{}.csv'"
    found = read(
        tmp_path, lists__mail_csv="email,domain\nann@example.com,\n", lists__all_csv="email,account_id\nann@example.com,\n",
        audiences__one_toml=leaves_out.format("mail"), audiences__two_toml=leaves_out.format("all"),
    )  # fmt: skip
    book, wrong = found.bound()
    assert [*book.definitions] == [("audience", "two")]
    assert wrong == {
        ("audience", "one"): "The list lists/mail.csv can't name an account: give it one of the columns account_id."
    }


def test_a_condition_that_can_not_be_asked_is_told_and_the_others_are_worked_out(world: World) -> None:
    world.people(person("ann", usage_percent=120, sfdc_contact_title="no number"))
    for number, where in enumerate(CONDITIONS):
        world.define("audience", f"bad{number}", events={"asked": {"event": "Asked"}}, where=where)
    world.define("audience", "in_it", within="bad0")
    world.define("audience", "good", where="usage_percent > 100")
    ran: Ran = world.run()
    assert world.members("audience", "good").keys() == {"ann"}
    told = {ref.name: sentence for ref, sentence in ran.problems.items()}
    assert told.pop("in_it") == "It rests on audience bad0, which can't be used."
    assert {where for n, where in enumerate(CONDITIONS) if f"bad{n}" not in told} == set()
    for sentence in told.values():
        assert sentence.endswith((".", "?", "!")), sentence
        assert "\n" not in sentence
        assert "batch" not in sentence
        assert "no number" not in sentence
        assert len(sentence) < 500


def test_names_that_are_words_of_sql_or_of_the_engine_or_long_are_names(world: World) -> None:
    world.people(person("ann"), person("bo"))
    long = "l" * 59
    events = {name: {"event": "Asked"} for name in ("select", "g", "kept", f"{long}3")}
    asked = f'"select".times > 0 AND g.times > 0 AND kept.times > 0 AND {long}3.times > 0'
    names = ("order", "u", "w", "everybody", f"{long}1", f"{long}2")
    for name in names:
        world.define("audience", name, where="user_id = 'ann'")
    world.define("persona", "order", events=events, signals=[{"name": 'it\'s "one" 馬', "where": asked}])
    world.define("journey", "order", events=events, stages=[{"name": "o'clock 馬", "where": asked}])
    both = " AND ".join(f'audience."{name}"' for name in names)
    more = "persona.\"order\" = 1 AND journey.\"order\" = 'o''clock 馬'"
    world.define("audience", "all_of_them", events=events, where=f"{both} AND {more} AND {asked}")
    world.happened(("ann", "Asked", "2026-02-01T00:00:00Z"))
    assert world.run().problems == {}
    assert world.members("audience", "all_of_them").keys() == {"ann"}
    assert world.members("journey", "order") == {"ann": "o'clock 馬"}


def test_names_of_events_lists_and_stages_may_have_any_letters(world: World) -> None:
    world.people(person("ann"), person("bo", email="bö@exämple.org"))
    world.lists["größe 馬's.csv"] = [("email", "bö@exämple.org")]
    event = "Prüfung \\ 'begonnen' 😀 \"x\" ? $1 {y}"
    world.define("audience", "tried", events={"asked": {"event": event}}, where="asked.times = 1")
    world.define("audience", "all", exclude="lists/größe 馬's.csv")
    world.happened(("ann", event, "2026-02-01T00:00:00Z"), ("bo", "Prüfung", "2026-02-01T00:00:00Z"))
    assert world.run().problems == {}
    assert [world.members("audience", name).keys() for name in ("tried", "all")] == [{"ann"}, {"ann"}]


def test_a_file_that_can_not_be_read_leaves_in_force_what_it_said_before(world: World) -> None:
    world.people(person("ann", usage_percent=10))
    world.define("audience", "low", where="usage_percent < 50")
    world.run("2026-03-01T00:00:00Z")
    ref = Ref("audience", "low")
    one: Definition = world.definitions.pop(ref)
    world.problems[ref] = "audiences/low.toml: it is not valid TOML."
    world.people(person("ann", usage_percent=90))
    world.run("2026-03-02T00:00:00Z")
    assert world.members("audience", "low").keys() == {"ann"}
    row = only(world.ask("SELECT since, until, problem FROM definitions"))
    assert tuple(row.values()) == ("2026-03-01T00:00:00Z", None, "audiences/low.toml: it is not valid TOML.")
    world.problems.clear()
    world.definitions[ref] = one
    world.run("2026-03-03T00:00:00Z")
    assert world.members("audience", "low") == {}
    row = only(world.ask("SELECT since, until, problem FROM definitions"))
    assert tuple(row.values()) == ("2026-03-01T00:00:00Z", None, None)


# --- people who turn out to be one ----------------------------------------------------------------------------------

EVERYBODY = {
    Ref("audience", "all"): KINDS["audience"].model_validate({"title": "x"}),
    Ref("journey", "way"): KINDS["journey"].model_validate(
        {"title": "x", "stages": [{"name": "customer", "where": "contact_id IS NOT NULL"}, {"name": "visitor"}]}
    ),
    Ref("cohort", "test"): KINDS["cohort"].model_validate({"title": "x", "arms": {"a": 0.5, "b": 0.5}}),
}


class Pipeline:
    """A worker with everybody in an audience, a journey and a cohort."""

    def __init__(self, store: Store) -> None:
        self.now = "2026-02-01T00:00:00Z"
        self.stream = Stream()
        self._store = store
        rules = Rules({}, {}, definitions=lambda: Defined(EVERYBODY))
        self._worker = Flattener(store, rules, now=lambda: self.now, fetch_schema=BODIES.get)

    def run(self, now: str, *entries: object) -> None:
        self.now = now
        self._worker.apply(list(entries))  # type: ignore[arg-type]
        ran = self._worker.work_out_definitions()
        assert ran is not None
        assert ran.problems == {}
        live = {row["user_id"] for row in ask(self._store, "SELECT user_id FROM users WHERE NOT is_deleted")}
        assert {who for who, until, _ in self.stays("all") if until is None} == live
        assert {who for who, until, _ in self.stays("way") if until is None} == live
        sizes = ask(self._store, "SELECT size FROM member_counts WHERE name = 'all' ORDER BY \"time\" DESC LIMIT 1")
        assert sizes[0]["size"] == len(live)

    def stays(self, name: str) -> list[tuple[str, str | None, str]]:
        """Return (member, until, value or why it ended) of a definition."""
        rows = ask(self._store, f"SELECT * FROM members WHERE name = '{name}' ORDER BY member_id, since")
        return [(row["member_id"], row["until"], row["ended_because"] or row["value"] or "") for row in rows]


def test_who_gets_another_id_takes_along_since_when_stage_and_arm(store: Store) -> None:
    line = Pipeline(store)
    lead = line.stream.entry(
        FIRST, "Lead", 1, "01-20T10:00:00", Email="solo@example.com", Company="S", IsConverted=False
    )
    line.run("2026-02-01T00:00:00Z", lead, product_event(1, "01-21T09:00:00", "page", anonymous_id="visitor"))
    lead_id, contact = record("Lead", 1), record("Contact", 1)
    arms = {who: arm for who, _, arm in line.stays("test")}
    assert arms == {who: arm_of("test", [{"a": 0.5, "b": 0.5}], who) for who in (lead_id, "visitor")}
    line.run(
        "2026-02-12T00:00:00Z",
        line.stream.entry(FIRST, "Contact", 1, "02-10T12:00:00", Email="solo@example.com", Name="Solo"),
        line.stream.entry(FIRST, "Lead", 1, "02-10T12:00:00", Email="solo@example.com", IsConverted=True, ConvertedContactId=contact),
        product_event(2, "02-11T09:00:00", name="Sign Up", anonymous_id="visitor", user_id="u-1"),
    )  # fmt: skip
    signed_in = only(ask(store, "SELECT user_id FROM identities WHERE alias = 'visitor'"))["user_id"]
    assert line.stays("all") == [(contact, None, ""), (signed_in, None, "")]
    assert line.stays("way") == [
        (contact, "2026-02-12T00:00:00Z", "another value"), (contact, None, "customer"), (signed_in, None, "visitor"),
    ]  # fmt: skip
    assert line.stays("test") == [(contact, None, arms[lead_id]), (signed_in, None, arms["visitor"])]
    since = {row["since"] for row in ask(store, "SELECT since FROM audience_members")}
    assert since == {"2026-02-01T00:00:00Z"}


def test_of_two_who_turn_out_to_be_one_the_stays_of_the_id_that_is_left_count(store: Store) -> None:
    line = Pipeline(store)
    two = [
        line.stream.entry(FIRST, "Contact", number, "01-20T10:00:00", Name="N", Email=f"c{number}@example.com")
        for number in (1, 2)
    ]
    line.run("2026-02-01T00:00:00Z", *two)
    before, merged = dict(enumerate(line.stays("test"))), "2026-02-12T00:00:00Z"
    first, second = record("Contact", 1), record("Contact", 2)
    gone = line.stream.entry(
        FIRST, "Contact", 2, "02-10T12:00:00", Name="N", Email="c2@example.com", IsDeleted=True, MasterRecordId=first
    )
    line.run(merged, gone)
    assert line.stays("all") == [(first, None, ""), (second, merged, MERGED)]
    assert line.stays("test") == [before[0], (second, merged, MERGED)]
    line.run("2026-02-13T00:00:00Z")
    assert line.stays("all") == [(first, None, ""), (second, merged, MERGED)]


def test_of_two_who_become_a_third_the_stays_of_the_earlier_count(store: Store) -> None:
    line = Pipeline(store)
    line.run("2026-02-01T00:00:00Z", product_event(1, "01-21T09:00:00", name="Visit", anonymous_id="late-visitor"))
    lead = line.stream.entry(
        FIRST, "Lead", 1, "01-20T10:00:00", Email="solo@example.com", Company="S", IsConverted=False
    )
    line.run("2026-02-02T00:00:00Z", lead)
    lead_id, contact, merged = record("Lead", 1), record("Contact", 1), "2026-02-12T00:00:00Z"
    arms = {who: arm for who, _, arm in line.stays("test")}
    line.run(
        merged,
        line.stream.entry(FIRST, "Contact", 1, "02-10T12:00:00", Email="solo@example.com", Name="Solo"),
        line.stream.entry(FIRST, "Lead", 1, "02-10T12:00:00", Email="solo@example.com", IsConverted=True, ConvertedContactId=contact),
        product_event(2, "02-11T09:00:00", name="Sign Up", anonymous_id="late-visitor", user_id="solo@example.com"),
    )  # fmt: skip
    assert line.stays("all") == [(contact, None, ""), (lead_id, merged, MERGED)]
    assert line.stays("test") == [(contact, None, arms["late-visitor"]), (lead_id, merged, MERGED)]
    assert only(ask(store, "SELECT since FROM audience_members"))["since"] == "2026-02-01T00:00:00Z"
