"""What is drawn of an answer, and what is not: without drawing it."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from integration.errors import UsageError
from integration.pictures.how import How, Kind, how
from integration.pictures.plan import Panel, Picture, cut, plan, words

BARS = "bars of people, amount by industry"


def drawn(told: str, rows: list[dict[str, Any]], **options: int) -> Picture:
    return plan(how(told), "What it tells.", rows, **options)


def values(panel: Panel) -> list[Any]:
    [series] = panel.series
    return list(series.values)


def industries(count: int) -> list[dict[str, Any]]:
    return [{"industry": f"Industry {n}", "people": n, "amount": Decimal(n) / 10} for n in range(1, count + 1)]


def test_a_line_of_words_says_how_to_draw() -> None:
    assert how("bars of a by b") == How(Kind.BARS, ("a",), ("b",))
    assert how("bars of a, b by c, d, others added up") == How(Kind.BARS, ("a", "b"), ("c", "d"), True)
    assert how("stacks of a by b, c") == How(Kind.STACKS, ("a",), ("b", "c"))
    assert how("lines of a, b over t") == How(Kind.LINES, ("a", "b"), ("t",))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("none, people are listed one by one", "No picture tells this better than the table: people are listed one by one."),
        ("pie of a by b", "How to draw this can't be read (pie of a by b)"),
        ("bars of a", "How to draw this can't be read (bars of a)"),
        ("stacks of a by b", "Stacks are of one measure, by two columns"),
        ("stacks of a, b by c, d", "Stacks are of one measure, by two columns"),
    ],
)  # fmt: skip
def test_what_can_not_be_drawn_is_refused(told: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        how(told)
    assert str(refused.value).startswith(said)


def test_each_measure_has_a_panel_and_each_row_a_bar_in_the_order_of_the_answer() -> None:
    picture = drawn(BARS, industries(3))
    assert picture.title == "What it tells"
    assert picture.labels == ("Industry 1", "Industry 2", "Industry 3")
    assert [panel.name for panel in picture.panels] == ["People", "Amount"]
    assert [values(panel) for panel in picture.panels] == [[1, 2, 3], [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]]
    assert not picture.note


def test_what_finds_no_room_is_added_up_only_where_that_makes_sense() -> None:
    several = drawn(BARS, industries(40))
    assert (len(several.labels), several.labels[-1]) == (25, "Industry 25")
    assert several.note == "15 more are not shown."
    assert not several.has_rest

    once = drawn(f"{BARS}, others added up", industries(40))
    assert (len(once.labels), once.labels[-2:]) == (25, ("Industry 24", "16 others"))
    assert once.has_rest
    assert values(once.panels[0])[-1] == sum(range(25, 41))
    assert values(once.panels[1])[-1] == Decimal(sum(range(25, 41))) / 10
    assert not once.note

    assert drawn(BARS, industries(40), at_most=39).note == "1 more is not shown."
    assert len(drawn(f"{BARS}, others added up", industries(25)).labels) == 25


def test_what_is_not_known_is_not_nothing() -> None:
    rows = [{"industry": None, "people": None, "amount": None}, {"industry": "A", "people": 0, "amount": None}]
    picture = drawn(BARS, rows)
    assert picture.labels == ("(unknown)", "A")
    assert [values(panel) for panel in picture.panels] == [[None, 0]]  # and nobody knows any amount


def test_stacks_part_a_bar_by_the_second_column_the_largest_first() -> None:
    rows = [
        {"title": title, "industry": industry, "arr": arr}
        for title, industry, arr in [("CTO", "Media", 5), ("CEO", "Media", 1), ("CEO", "Retail", 9), ("CTO", None, 2)]
    ]
    picture = drawn("stacks of arr by title, industry", rows)
    assert picture.labels == ("CEO", "CTO")
    [panel] = picture.panels
    assert panel.name == "ARR"
    assert [(one.name, one.values) for one in panel.series] == [
        ("Retail", (9, None)),
        ("Media", (1, 5)),
        ("(unknown)", (None, 2)),
    ]


def test_more_parts_than_there_are_colours_become_others_and_bars_only_if_they_may() -> None:
    rows = [{"t": f"T{t:02d}", "i": f"I{i:02d}", "n": 100 - i} for t in range(40) for i in range(12)]
    several = drawn("stacks of n by t, i", rows)
    assert (len(several.labels), several.note) == (25, "15 more are not shown.")
    parts = several.panels[0].series
    assert [one.name for one in parts] == [*(f"I{i:02d}" for i in range(7)), "5 others"]
    assert [one.is_rest for one in parts] == [False] * 7 + [True]
    assert set(parts[-1].values) == {sum(100 - i for i in range(7, 12))}

    once = drawn("stacks of n by t, i, others added up", rows)
    assert once.labels[-1] == "16 others"
    assert sum(one.values[-1] or 0 for one in once.panels[0].series) == 16 * sum(100 - i for i in range(12))


def test_lines_go_through_time_whatever_the_order_of_the_rows() -> None:
    rows = [{"day": f"2026-10-{n:02d}", "events": n, "people": 2} for n in (3, 1, 2)]
    picture = drawn("lines of events, people over day", rows)
    assert picture.labels == tuple(datetime(2026, 10, n, tzinfo=UTC) for n in (1, 2, 3))
    assert [values(panel) for panel in picture.panels] == [[1, 2, 3], [2, 2, 2]]


def test_a_second_column_gives_a_line_each_with_gaps_where_nothing_is_known() -> None:
    rows = [
        {"at": "2026-10-01T10:00:00Z", "kind": "a", "n": 1},
        {"at": "2026-10-02T10:00:00Z", "kind": "b", "n": 2},
        {"at": "2026-10-02T10:00:00Z", "kind": "a", "n": 3},
    ]
    [panel] = drawn("lines of n over at, kind", rows).panels
    assert [(one.name, one.values) for one in panel.series] == [("a", (1, 3)), ("b", (None, 2))]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("bars of peple by industry", "There is no column peple to draw: there are industry, people, amount."),
        ("bars of industry by people", "The column industry can't be drawn: it has values that are no numbers."),
        ("lines of people over industry", "The column industry can't be drawn as time: it holds 'Industry 1'."),
    ],
)
def test_columns_that_do_not_fit_are_named(told: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        drawn(told, industries(1))
    assert str(refused.value) == said


def test_addresses_of_one_site_are_told_by_their_paths() -> None:
    def labels(*pages: str) -> tuple[Any, ...]:
        return drawn("bars of n by page", [{"page": page, "n": 1} for page in pages]).labels

    assert labels("https://a.example/", "https://a.example/pricing", "(unknown)") == ("/", "/pricing", "(unknown)")
    assert labels("https://a.example/x", "https://b.example/x") == ("a.example/x", "b.example/x")
    assert labels("https://a.example/x", "elsewhere") == ("a.example/x", "elsewhere")
    assert labels("(unknown)") == ("(unknown)",)


def test_of_two_columns_in_a_label_both_are_seen() -> None:
    def labels(*rows: tuple[str, str]) -> tuple[Any, ...]:
        shown = [{"channel": channel, "page": page, "n": 1} for channel, page in rows]
        return drawn("bars of n by channel, page", shown).labels

    assert labels(("email", "https://a.example/x"), ("paid", "https://b.example/y")) == (
        "email · a.example/x",
        "paid · b.example/y",
    )
    assert labels(("email", "https://a.example/x"), ("paid", "https://a.example/y")) == ("email · /x", "paid · /y")
    [long] = labels(("email", "https://a.example/guides/all-about-the-product-and-its-uses"))
    assert long == "email · …-the-product-and-its-uses"
    [both] = labels(("A channel of quite some length", "https://a.example/guides/all-about-the-product"))
    assert both == "A channel of q… · …out-the-product"


def test_only_what_begins_as_an_address_is_one() -> None:
    assert cut("see http://x") == "see http://x"
    assert cut("Negotiation/Review of what the lawyers want") == "Negotiation/Review of what the la…"
    assert cut("/guides/all-about-the-product-and-its-uses") == "…ll-about-the-product-and-its-uses"


def test_wide_signs_take_the_room_of_two() -> None:
    assert cut("日本" * 8) == "日本" * 8
    assert cut("日本" * 17) == "日本" * 8 + "…"
    assert cut("https://例え.example/" + "日本" * 17) == "…" + "日本" * 8


def test_several_values_of_a_line_at_one_time_are_refused() -> None:
    rows = [{"day": "2026-10-01", "kind": kind, "n": 1} for kind in ("a", "b", "a")]
    said = "A line has one value for each time, and there are several rows of {}: add them up."
    with pytest.raises(UsageError) as refused:
        drawn("lines of n over day", rows)
    assert str(refused.value) == said.format("2026-10-01")
    with pytest.raises(UsageError) as refused:
        drawn("lines of n over day, kind", rows)
    assert str(refused.value) == said.format("2026-10-01 and a")


def test_there_are_no_more_bars_and_measures_than_there_is_room_for() -> None:
    assert len(drawn(BARS, industries(500), at_most=500).labels) == 500
    with pytest.raises(UsageError) as refused:
        drawn(BARS, industries(10_000), at_most=10_000)
    assert str(refused.value) == "A picture has room for 500 bars, not 10,000: --limit 500 draws the first."
    rows = [{"t": f"T{n}", "i": "I", "n": 1} for n in range(501)]
    with pytest.raises(UsageError, match=r"has room for 500 bars, not 501:"):
        drawn("stacks of n by t, i", rows, at_most=501)
    many = ", ".join(f"m{n}" for n in range(7))
    with pytest.raises(UsageError) as refused:
        drawn(f"bars of {many} by t", rows)
    assert str(refused.value) == "A picture of bars has room for 6 measures, not 7: leave some out."


def test_labels_stand_on_one_line_and_fit() -> None:
    assert cut("Short") == "Short"
    assert cut("A\x00B\n C\u202eD") == "A B C D"
    assert cut("Zephyrine Market Group of the North and the South") == "Zephyrine Market Group of the Nor…"
    assert cut("https://shop.example.com/guides") == "shop.example.com/guides"
    address = cut("https://shop.example.com/guides/all-about-the-product-and-its-uses")
    assert address == "…ll-about-the-product-and-its-uses"
    assert len(address) == 34


@pytest.mark.parametrize(
    ("column", "name"),
    [("won_amount", "Won amount"), ("arr_by_account", "ARR by account"), ("sign_ups", "Sign-ups"), ("n", "N")],
)
def test_columns_are_told_in_words(column: str, name: str) -> None:
    assert words(column) == name
