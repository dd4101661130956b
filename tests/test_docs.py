"""Nothing undocumented, nothing untrue: the pages are held against the program."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import sqlglot
import typer

from integration import errors
from integration.cli import reference
from integration.cli.app import build
from integration.cli.frame import INTERRUPTED
from integration.core import cause, exactjson, naming, values
from integration.core.columns import ColumnType
from integration.pictures.how import how
from integration.pictures.plan import words
from integration.settings import DEFAULT_OBJECTS, Settings, load
from integration.settings_sources import CONFIG_VARIABLE, SECRETS_VARIABLE, Known
from integration.store import dbt, tables
from integration.store.markers import DEFAULT
from integration.stream import entry, names
from integration.wiring.definitions import read_folder
from integration.wiring.report import report
from integration.wiring.sync import SyncReport
from schemas import DeadLetter, IdentityKind, Origin, definitions
from schemas.definitions import Definition

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / ".github").glob("*.md")])
KNOWN = Known(Settings, DEFAULT_OBJECTS)
COMMON_OPTIONS = {"--json", "--config", "--debug", "--help"}
NOT_YET: set[str] = set()
"""Commands of a later version: a page may name one only to say so."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sections(name: str) -> dict[str, str]:
    """Heading -> the text below it, up to the next heading of any depth."""
    parts = re.split(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", hide, text_of(name), flags=re.MULTILINE | re.DOTALL), flags=re.MULTILINE
    )
    return {heading: shown(body) for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def hide(block: "re.Match[str]") -> str:
    return block[0].replace("\n#", "\n\x00")


def shown(text: str) -> str:
    return text.replace("\x00", "#")


def commands(app: Any, path: str = "headrace") -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command that does something by itself."""
    if hasattr(app, "commands"):
        for name, inner in app.commands.items():
            yield from commands(inner, f"{path} {name}")
    else:
        yield path, app


COMMANDS = dict(commands(typer.main.get_command(build())))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_with_an_example_and_every_option(name: str) -> None:
    section = sections("docs/commands.md").get(name)
    assert section is not None, f"docs/commands.md has no heading {name!r}"
    assert re.search(rf"^(\$ (.*\| )?)?{name}\b", section, re.MULTILINE), "no example"
    options = {opt for p in COMMANDS[name].params for opt in p.opts if opt.startswith("--")} - COMMON_OPTIONS
    assert {opt for opt in options if opt not in section} == set()
    assert {
        opt for opt in re.findall(r"(?<![\w-])--[a-z][a-z-]*", section) if opt not in options | COMMON_OPTIONS
    } == set()


def test_every_command_documented_is_there() -> None:
    groups = {name.rpartition(" ")[0] for name in COMMANDS if name.count(" ") > 1}
    documented = {heading for heading in sections("docs/commands.md") if heading.startswith("headrace ")}
    assert documented == {*COMMANDS, *groups}


def test_every_command_is_in_the_changelog() -> None:
    told = text_of("CHANGELOG.md")
    assert [name for name in COMMANDS if name.split()[1] not in told] == []
    assert "## [Unreleased]" in told


def test_pages_name_only_commands_that_are_there() -> None:
    wrong = []
    for page in PAGES:
        for named in re.findall(r"(?:`|^\$ )headrace ((?:[a-z]+)(?: [a-z]+)?)", page.read_text("utf-8"), re.MULTILINE):
            first = named.split()[0]
            if f"headrace {named}" not in COMMANDS and not any(c.split()[1] == first for c in COMMANDS):
                wrong.append(f"{page.name}: headrace {named}")
    assert wrong == []
    assert {name.split()[1] for name in COMMANDS} & NOT_YET == set(), "a command has come: say so in the pages"


def test_the_exit_codes_are_those_of_the_errors() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.HeadraceError)]
    documented = re.findall(r"^\| (\d+) \|", sections("docs/commands.md")["Exit codes"], re.MULTILINE)
    assert {int(code) for code in documented} == {0, INTERRUPTED, *(kind.exit_code for kind in kinds)}


def test_the_json_of_a_sync_is_documented() -> None:
    section = sections("docs/commands.md")["headrace sync"]
    assert [name for name in SyncReport.__dataclass_fields__ if f"`{name}`" not in section] == []


def test_the_page_of_the_settings_is_written_by_its_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0, capsys.readouterr().err


HAND_WRITTEN = [page for page in PAGES if page.name != "settings.md"]


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.parent.name + "-" + page.name)
def test_every_setting_and_variable_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    tables_named = {name.lower() for name in DEFAULT_OBJECTS}
    named = set(re.findall(rf"`({'|'.join(KNOWN.sections)})\.([a-z_]+)(?: = [^`]*)?`", text))
    named |= {("objects", key) for key in re.findall(r"`objects\.<Name>\.([a-z_]+)", text)}
    for variable in re.findall(r"HEADRACE_[A-Za-z_]*[A-Za-z]", text):
        if variable not in (CONFIG_VARIABLE, SECRETS_VARIABLE):
            section, _, key = variable.removeprefix("HEADRACE_").partition("__")
            named.add((section.lower(), key.rpartition("__")[2].lower()))
    named.discard(("product", "events"))  # a stream
    unknown = {(section, key) for section, key in named if key not in KNOWN.sections.get(section, ())}
    # `salesforce.contact` is a table, and `attribution.weight` a column of one.
    unknown -= {(table, column.name) for table, columns in tables.FIXED.items() for column in columns}
    assert {(s, k) for s, k in unknown if s != "salesforce" or not (k in tables_named or "__" in k)} == set()


TOML = [
    (page, body)
    for page in PAGES
    for body in re.findall(r"^ *```toml\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    if not body.startswith("# definitions/")
]
DEFINED = "# definitions/"


@pytest.mark.parametrize(("page", "body"), TOML, ids=[f"{page.name}-{n}" for n, (page, _) in enumerate(TOML)])
def test_the_settings_and_definitions_shown_can_be_used(page: Path, body: str, tmp_path: Path) -> None:
    if body.startswith(DEFINED):
        name = body.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(body)
        found = read_folder(tmp_path / "definitions")
        assert (len(found.definitions), found.problems) == (1, {})
    else:
        (tmp_path / "headrace.toml").write_text(body)
        load(tmp_path / "headrace.toml", {SECRETS_VARIABLE: ""})


@pytest.mark.parametrize("table", [*tables.FIXED, *tables.VIEWS])
def test_every_table_and_view_is_documented_with_every_column(table: str) -> None:
    found = sections("docs/tables.md")
    if table.startswith("headrace."):  # bookkeeping: may change, so its columns are nobody's business
        assert f"| `{table}` |" in found["headrace's own tables"]
        return
    assert table in found
    columns = [c.name for c in tables.FIXED.get(table, ())]
    if table == "accounts":
        columns = re.findall(r" AS (\w+)", tables.view_sql(table))
    if table == "user_events":
        assert "Its columns are those of `events`" in " ".join(found[table].split())
        columns = ["user_id", "via"]
    if table not in tables.FIXED and table not in ("accounts", "user_events"):
        columns = sqlglot.parse_one(tables.view_sql(table), read="duckdb").named_selects
        assert len(columns) > 2
    assert [name for name in columns if f"`{name}`" not in found[table]] == []


def test_the_types_told_of_columns_are_theirs() -> None:
    wrong = []
    for table, columns in tables.FIXED.items():
        told = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", sections("docs/tables.md").get(table, ""), re.MULTILINE))
        kinds = {c.name: "text" if c.type is ColumnType.BYTES_AS_TEXT else str(c.type) for c in columns}
        wrong += [
            f"{table}.{name} is {kinds.get(name)}, not {kind}" for name, kind in told.items() if kinds.get(name) != kind
        ]
    assert wrong == []


def test_every_type_is_documented() -> None:
    shown_types = set(re.findall(r"^\| `(\w+)` \|", sections("docs/tables.md")["Types"], re.MULTILINE))
    assert shown_types == {str(kind) for kind in ColumnType} - {str(ColumnType.BYTES_AS_TEXT)}


def test_every_event_name_is_documented() -> None:
    rows = re.findall(r"^\| (`.+?) \|", sections("docs/tables.md")["Event names"], re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    possible = set()
    for one in (*DEFAULT_OBJECTS, "cbit__Clearbit__c"):
        for name in cause.event_names(one):
            is_general = name.removeprefix(naming.words(one)) in (" Created", " Deleted", " Restored", " Updated")
            possible.add("X" + name.removeprefix(naming.words(one)) if is_general else name)
    assert len(possible) > 12
    assert documented == possible


def test_the_text_forms_of_values_are_as_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(.+?)` \| `(.+?)`", sections("docs/tables.md")["changes"], re.MULTILINE)
    assert len(rows) > 6
    for kind, in_json, text in rows:
        assert values.text(ColumnType(kind), exactjson.loads(in_json)) == text
    assert values.text(ColumnType.DECIMAL, Decimal("1395.50")) == "1395.5"


def test_the_property_names_are_as_documented() -> None:
    section = sections("docs/tables.md")["Property names"]
    for prefix, owner, field, property_name in (
        ("Account", "Account", "AnnualRevenue", "sfdc_account_annual_revenue"),
        ("Account", "Account", "ARR__c", "sfdc_account_arr"),
        ("Contact", "Contact", "cbit__Role__c", "sfdc_contact_cbit_role"),
        ("Account", "Account", "Type", "sfdc_account_account_type"),
        ("Opportunity", "Opportunity", "StageName", "sfdc_opportunity_stage"),
        ("Contact", "cbit__Clearbit__c", "cbit__Employment_Role__c", "sfdc_contact_cbit_employment_role"),
        ("Contact", "cbit__Clearbit__c", "Name", "sfdc_contact_cbit_clearbit_name"),
    ):
        assert naming.property_name(prefix, owner, field) == property_name
        assert f"`{field}`" in section
        assert f"`{property_name}`" in section


def test_every_kind_of_alias_is_documented() -> None:
    assert [kind for kind in IdentityKind if f"`{kind}`" not in sections("docs/tables.md")["identities"]] == []


def test_s3_19_every_field_of_attribution_has_a_definition_of_one_line() -> None:
    rows = re.findall(
        r"^\| [a-z, ]+ \| (.+?) \| (.{20,}) \|$", sections("docs/attribution.md")["Definitions"], re.MULTILINE
    )
    fields = {table: [c.name for c in columns] for table, columns in tables.FIXED.items()}
    fields |= {
        name: sqlglot.parse_one(tables.view_sql(name), read="duckdb").named_selects
        for name in ("user_touches", "first_touchpoints")
    }
    assert len(rows) > 10
    for told, _ in rows:
        table = ""
        for name, field in re.findall(r"`(\w*)(?:\.(\w+))?`", told):
            table = name or table
            assert not field or field in fields[table], f"{table}.{field}"


WORDS = (
    "record", "object", "field", "change capture", "origin", "change event", "event", "cursor", "checkpoint", "offset",
    "state", "property", "user", "identity", "alias", "backfill", "replay", "sweep", "dead letter", "retry",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_the_glossary_has_the_word(word: str) -> None:
    glossary = text_of("docs/glossary.md")
    defined = {w.rstrip(".") for bold in re.findall(r"\*\*(.+?)\*\*", glossary) for w in bold.rstrip(".").split(", ")}
    assert word in defined or f"*{word}*" in glossary


def test_the_glossary_has_every_origin() -> None:
    told = next(p for p in text_of("docs/glossary.md").split("\n\n") if p.startswith("**origin.**"))
    assert set(re.findall(r"`(\w+)`", told)) == set(Origin)


def test_the_streams_page_has_every_field_and_key() -> None:
    capture = {
        "id": "1", "org": "o", "object": "Contact", "record_id": "r", "system_modstamp": "s", "is_deleted": False,
        "fields": {}, "origin": "poll", "seen_at": "t",
    }  # fmt: skip
    page = sections("docs/streams.md")
    told = re.findall(r"^\| `(\w+)` \|", page["An entry"], re.MULTILINE)
    assert told == list(entry.to_entry(capture, traceparent="00-1-2-01"))
    fixed = [value for name, value in vars(names).items() if isinstance(value, str) and value.startswith("headrace:")]
    keys = (
        names.cursor_key("<object>"), names.seen_key("<object>"), names.buried_key("<stream>"),
        names.settled_key("<stream>"), names.retried_key("<stream>"), names.lease_key("<role>"), *fixed,
    )  # fmt: skip
    assert [key for key in keys if f"| `{key}` |" not in page["Keys beside the streams"]] == []
    for name in (names.stream_of("<object>"), names.dead_of(names.stream_of("<object>")), names.PRODUCT_STREAM):
        assert f"| `{name}` |" in page["Names"]
    assert f"`{names.GROUP}`" in page["Names"]
    assert len(DeadLetter.model_fields) == 7
    assert len(re.findall(r"`\w+`", "".join(re.findall(r"^\| (`.+?) \|", page["Dead letters"], re.MULTILINE)))) == 7


@pytest.mark.parametrize(
    ("page", "heading", "models"),
    [
        ("audiences.md", "Files", [Definition]),
        ("audiences.md", "Events", [definitions.Happening]),
        ("audiences.md", "Audiences", [definitions.Audience]),
        ("audiences.md", "Journeys", [definitions.Journey, definitions.Stage]),
        ("audiences.md", "Personas", [definitions.Persona, definitions.Signal, definitions.Finding]),
        ("audiences.md", "Cohorts", [definitions.Cohort]),
        ("audiences.md", "Funnels", [definitions.Funnel, definitions.Step]),
        ("health.md", "Every key", [definitions.Health, definitions.Happening, definitions.Group, definitions.Metric]),
        ("health.md", "Every key", [definitions.Outcomes]),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_every_key_of_a_definition_is_told(page: str, heading: str, models: list[Any]) -> None:
    rows = "".join(re.findall(r"^\| .+$", sections(f"docs/{page}")[heading], re.MULTILINE))
    told = set(re.findall(r"[`.](\w+)(?=[`.])", rows))
    of_all = set() if models == [Definition] else Definition.model_fields.keys()
    keys = {key for model in models for key in model.model_fields.keys() - of_all}
    assert sorted(keys - told) == []


def test_the_extras_of_the_image_are_told() -> None:
    [extras] = re.findall(r'"\.\[(.+?)\]"', text_of("Dockerfile"))
    [told] = re.findall(r"It has the extras (.+?), and is the same", text_of("docs/containers.md"), re.DOTALL)
    assert re.findall(r"`(\w+)`", told) == extras.split(",")


def test_what_settings_may_change_is_told_by_their_names() -> None:
    """The words of marts and reports are true whatever attribution.*_days are."""
    days = {str(getattr(DEFAULT, name)) for name in ("outbound_days", "influence_days", "half_life_days")}
    told = {f"{mart}.{column}": text for mart, of in dbt.words().items() for column, text in of["columns"].items()}
    told["campaign-influence"] = report("campaign-influence").sentence
    assert [name for name, text in told.items() if days & set(re.findall(r"\d+", text))] == []
    assert "attribution.influence_days" in told["campaign_influence.days_before"]
    assert "attribution.outbound_days" in told["opportunity_source.source_rule"]


QUESTIONS = sorted((DOCS / "questions").glob("*.md"))


@pytest.mark.parametrize("page", [page for page in QUESTIONS if page.name != "README.md"], ids=lambda page: page.stem)
def test_every_question_has_its_answer_a_picture_of_it_and_how_to_read_it(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.startswith("# ")
    assert text.partition("\n")[0].endswith("?")
    assert [
        heading for heading in re.findall(r"^## (.+)$", text, re.MULTILINE) if not heading.startswith("In one")
    ] == [
        "How to read it",
        "What it does not say",
    ]
    [query] = re.findall(r'^\$ headrace sql "(.+?)"$', text, re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"\bjoin\b", query)) == 1
    [picture] = re.findall(r"^!\[(?:[\w-]+)\]\(([\w-]+)\.svg\)$", text, re.MULTILINE)
    assert f"$ headrace report {picture}" in text
    assert f"({page.name}) | `headrace report {picture}` |" in text_of("docs/questions/README.md")


@pytest.mark.parametrize("file", sorted(DOCS.rglob("*.svg")), ids=lambda file: file.stem)
def test_a_picture_of_the_pages_is_what_its_report_draws_today(file: Path) -> None:
    """Its numbers are those of one day; its title and what it measures are the report's."""
    one = report(file.stem)
    told = how(one.picture)
    texts = ["".join(part.itertext()) for part in ElementTree.parse(file).iter() if part.tag.endswith("}text")]
    assert f"headrace report {one.name}" in texts
    assert {words(measure) for measure in told.measures} <= set(texts)
    assert one.sentence.removesuffix(".") in " ".join(texts)
    assert f"({file.name})" in "".join(page.read_text("utf-8") for page in file.parent.glob("*.md"))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"&\w+;|[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:integration|consumers|schemas|tests|docs)/[\w./-]*)(?:::(\w+))?`", page.read_text("utf-8")
    )
    missing = [path for path, _ in named if not (ROOT / path).exists()]
    missing += [
        f"{path}::{test}"
        for path, test in named
        if test and path not in missing and f"def {test}(" not in text_of(path)
    ]
    assert missing == []


def test_make_has_every_target_that_a_page_names() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = {
        (page.name, word)
        for page in PAGES
        for line in re.findall(r"(?:^ *|`)make ([a-z ]+)", page.read_text("utf-8"), re.MULTILINE)
        for word in line.split("  ")[0].split()
    }
    assert {word for _, word in named} >= {"demo", "test", "bench"}
    assert {(page, word) for page, word in named if word not in targets} == set()


def test_the_guarantees_are_all_there_and_say_how_to_check_them() -> None:
    found = {heading: body for heading, body in sections("docs/guarantees.md").items() if heading[0].isdigit()}
    assert [heading.split(".")[0] for heading in found] == list("1234567")
    for heading, body in found.items():
        assert "**Holds" in body, heading
        assert "**Check it.**" in body, heading
        assert "tests/" in body, heading


ELSEWHERE = re.compile(r"(?<![\w.])/(?:home|root|tmp|Users)/")
"""Places of one machine only."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_places_that_are_not_the_readers(page: Path) -> None:
    assert [found[0] for found in ELSEWHERE.finditer(page.read_text("utf-8"))] == []


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(text_of("README.md").splitlines()) <= 200
