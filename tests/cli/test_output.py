"""How results look."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from integration.cli.output import Output, ago, cell, indented, plain


def printed(method: str, *arguments: Any, **options: Any) -> str:
    result, notes = io.StringIO(), io.StringIO()
    getattr(Output(result, notes), method)(*arguments, **options)
    assert notes.getvalue() == ""
    return result.getvalue()


def test_numbers_stand_to_the_right_and_nothing_is_cut_off() -> None:
    rows = [{"name": "Acme " * 20, "arr": Decimal("1200.50")}, {"name": None, "arr": Decimal(7)}]
    assert printed("table", ["name", "arr"], rows).splitlines() == [
        f"{'NAME':<100}      ARR",
        f"{'Acme ' * 20}  1200.50",
        f"{'-':<100}        7",
    ]


def test_control_characters_in_a_record_never_reach_the_terminal() -> None:
    shown = printed("table", ["title"], [{"title": "\x1b[2JCEO\r\nand \x9b31m"}])
    assert shown.splitlines()[1] == "\\x1b[2JCEO\\r\\nand \\x9b31m"


def test_an_empty_result_still_names_its_columns() -> None:
    assert printed("table", ["user_id", "email"], []) == "USER_ID  EMAIL\n"
    assert printed("csv", ["user_id", "email"], []) == "user_id,email\n"


def test_csv_quotes_and_leaves_null_empty() -> None:
    rows = [{"a": 'say "hi", twice', "b": None}, {"a": "two\nlines", "b": Decimal("1E+3")}, {"a": True, "b": ""}]
    assert printed("csv", ["a", "b"], rows) == 'a,b\n"say ""hi"", twice",\n"two\nlines",1000\ntrue,\n'


def test_json_is_one_document_with_exact_numbers_and_utc_times() -> None:
    at = datetime(2026, 11, 22, 6, 0, tzinfo=timezone(timedelta(hours=1)))
    assert printed("document", {"arr": Decimal("12345678901234567.89"), "at": at, "who": "Zoë"}) == (
        '{"arr":12345678901234567.89,"at":"2026-11-22T05:00:00Z","who":"Zoë"}\n'
    )


def test_a_report_gives_every_filled_part_its_heading_and_tells_times_from_now() -> None:
    report = {
        "store": "ok",
        "at": "2026-11-22T05:00:00Z",
        "redis": {"url": "embedded"},
        "dead": [],
        "objects": [{"object": "Lead", "last_poll": "2026-11-22T04:59:30.5Z", "records": 3}],
    }
    assert printed("report", report, now=datetime(2026, 11, 22, 5, 1, tzinfo=UTC)).splitlines() == [
        "store  ok",
        "at     1m ago",
        "",
        "REDIS",
        "url  embedded",
        "",
        "OBJECTS",
        "OBJECT  LAST_POLL  RECORDS",
        "Lead    1m ago           3",
    ]


def test_dataclasses_become_plain_values() -> None:
    @dataclass
    class Lag:
        at: datetime
        names: tuple[str, ...]

    assert plain([Lag(datetime(2026, 1, 2, tzinfo=UTC), ("a",))]) == [{"at": "2026-01-02T00:00:00Z", "names": ["a"]}]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s ago"),
        (59, "59s ago"),
        (60, "1m ago"),
        (3599, "59m ago"),
        (7200, "2h ago"),
        (86400 * 9, "9d ago"),
        (-5, "just now"),
    ],
)
def test_times_are_told_from_now(seconds: int, said: str) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert ago((now - timedelta(seconds=seconds)).isoformat(), now) == said
    assert ago(None, now) == "-"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (0, "0"),
        ("", ""),
        (Decimal("1E+2"), "100"),
        (0.5, "0.5"),
        (["a", None], '["a",null]'),
    ],
)
def test_cells_are_text_without_surprises(value: Any, text: str) -> None:
    assert cell(value) == text


def test_indented_json_keeps_numbers_exact() -> None:
    value = {"a": [1, {"b": Decimal("12345678901234567.89")}], "c": {}, "d": [], "e": "x\ny"}
    text = "\n".join(indented(value))
    assert json.loads(text, parse_float=Decimal) == value
    assert text.splitlines()[:3] == ["{", '  "a": [', "    1,"]
