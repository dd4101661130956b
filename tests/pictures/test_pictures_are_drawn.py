"""Pictures as files: read back, and held against the numbers they were made of."""

import struct
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from svg import read

from integration.errors import ConfigError
from integration.pictures import draw
from integration.pictures.how import how
from integration.pictures.plan import plan

GOLDEN = Path(__file__).parent / "pipeline.svg"
NUMBERS = [7, Decimal("1234567.89"), None, Decimal("12.50"), 0]
ROWS: list[dict[str, Any]] = [{"stage": f"Stage {n}", "amount": amount} for n, amount in enumerate(NUMBERS)]


def svg(told: str, rows: list[dict[str, Any]]) -> bytes:
    return draw.svg(plan(how(told), "Open opportunities by stage.", rows), "headrace report pipeline")


def test_bars_are_as_long_as_their_numbers_say() -> None:
    found = read(svg("bars of amount by stage", ROWS))
    lengths = {row: length for (_, row, _), (_, length) in found.bars.items()}
    assert lengths.keys() == {0, 1, 3, 4}
    unit = lengths[1] / 1234567.89
    assert lengths == pytest.approx({row: unit * float(NUMBERS[row] or 0) for row in lengths}, abs=0.01)
    assert lengths[1] > found.width / 3


def test_every_bar_has_its_label_and_its_number() -> None:
    texts = read(svg("bars of amount by stage", ROWS)).texts
    assert {f"Stage {n}" for n in range(5)} < set(texts)
    assert {"7", "1,234,568", "-", "12.5", "0"} < set(texts)
    assert {"Open opportunities by stage", "headrace report pipeline", "Amount"} < set(texts)


def test_negative_numbers_go_the_other_way() -> None:
    rows = [{"stage": "up", "amount": 30}, {"stage": "down", "amount": -60}]
    found = read(svg("bars of amount by stage", rows))
    (up_begins, up), (down_begins, down) = found.bars[0, 0, 0], found.bars[0, 1, 0]
    assert up_begins == pytest.approx(down_begins)
    assert down == pytest.approx(-2 * up)
    assert "-60" in found.texts


def test_parts_of_a_stack_follow_on_each_other_and_have_colours_of_their_own() -> None:
    rows = [{"t": "CEO", "i": name, "n": n} for name, n in (("A", 40), ("B", 30), ("C", 20))]
    found = read(svg("stacks of n by t, i", rows))
    (first, a), (second, b), (third, c) = (found.bars[0, 0, part] for part in range(3))
    assert (second, third) == (pytest.approx(first + a), pytest.approx(second + b))
    assert (a / b, a / c) == (pytest.approx(40 / 30), pytest.approx(2))
    assert len(set(found.colours.values())) == 3
    assert {"A", "B", "C", "90"} < set(found.texts)


def test_a_line_goes_through_its_values() -> None:
    numbers = [3, 9, 0, 6]
    starts = datetime(2026, 10, 1, tzinfo=UTC)
    rows = [{"day": (starts + timedelta(days=n)).isoformat(), "n": number} for n, number in enumerate(numbers)]
    points = read(svg("lines of n over day", rows)).lines[0, 0]
    steps = [after[0] - before[0] for before, after in pairwise(points)]
    assert steps == pytest.approx([steps[0]] * 3)
    bottom = points[2][1]  # y grows downwards
    unit = (bottom - points[1][1]) / 9
    assert unit > 5
    assert [(bottom - y) / unit for _, y in points] == pytest.approx(numbers, abs=0.001)


def test_as_many_parts_as_there_may_be_have_colours_of_their_own() -> None:
    found = read(svg("stacks of n by t, i", [{"t": "CEO", "i": f"I{n}", "n": 9} for n in range(8)]))
    assert len(found.colours) == len(set(found.colours.values())) == 8


def test_what_is_unknown_steps_back() -> None:
    rows = [{"stage": name, "amount": 1} for name in ("Prospecting", "(unknown)", "Won")]
    colours = read(svg("bars of amount by stage", rows)).colours
    assert colours[0, 0, 0] == colours[0, 2, 0] != colours[0, 1, 0]


def test_the_others_are_grey() -> None:
    rows = [{"stage": f"Stage {n}", "amount": 1} for n in range(40)]
    found = read(svg("bars of amount by stage, others added up", rows))
    assert found.colours[0, 24, 0] not in {found.colours[0, row, 0] for row in range(24)}
    assert "16 others" in found.texts


@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_everything_stands_within_the_picture(count: int) -> None:
    rows = [{"stage": f"Stage {n}", "amount": 10**n} for n in range(count)]
    found = read(svg("bars of amount by stage", rows))
    assert found.width == 720
    for begins, length in found.bars.values():
        assert 0 < begins <= begins + length < found.width
    assert (found.height > 500) == (count == 40)
    assert ("There is nothing to show." in found.texts) == (count == 0)


@pytest.mark.parametrize(
    ("sign", "of_its_height"), [("W", 2025 / 2048), ("m", 1995 / 2048), ("日", 1), ("i", 569 / 2048)]
)
def test_labels_of_wide_letters_stand_within_the_picture(sign: str, of_its_height: float) -> None:
    """How wide the letters are is written in DejaVu Sans; signs of Japanese are squares in every font."""
    found = read(svg("bars of amount by stage", [{"stage": sign * 99, "amount": 1}]))
    [(label, end)] = [(text, end) for text, end in found.ends.items() if text.startswith(sign)]
    assert label.endswith("…")
    begins = end - 9 * (of_its_height * (len(label) - 1) + 1)
    assert begins > 10
    assert end < found.bars[0, 0, 0][0]


def test_as_many_panels_as_there_may_be_have_room_beside_wide_labels() -> None:
    told = {f"m{n}": 1 for n in range(6)}
    found = read(svg(f"bars of {', '.join(told)} by stage", [{"stage": "W" * 99, **told}]))
    begins = [found.bars[panel, 0, 0][0] for panel in range(6)]
    steps = [after - before for before, after in pairwise(begins)]
    assert steps == pytest.approx([steps[0]] * 5)
    assert steps[0] > 60
    assert begins[-1] + found.bars[5, 0, 0][1] < found.width


def test_nothing_in_a_label_is_markup_mathematics_or_unprintable() -> None:
    label = "<b>&amp;</b> $x_1^2$ \x00\x1b[0m 日本"
    [row] = [{"stage": label, "amount": 1}]
    assert "<b>&amp;</b> $x_1^2$ [0m 日本" in read(svg("bars of amount by stage", [row])).texts
    assert draw.png(plan(how("bars of amount by stage"), "$", [row]))


def test_the_same_picture_has_the_same_bytes_and_is_the_one_we_know() -> None:
    """Written anew by: python tests/pictures/test_pictures_are_drawn.py

    Another matplotlib writes other bytes: what is drawn, and where, is the same.
    """
    drawn = golden()
    assert drawn == golden()
    found, known = read(drawn), read(GOLDEN.read_bytes())
    assert (found.texts, found.colours) == (known.texts, known.colours)
    assert (found.width, found.height) == pytest.approx((known.width, known.height))
    assert found.ends == pytest.approx(known.ends, abs=0.01)
    assert found.bars.keys() == known.bars.keys()
    for place, bar in found.bars.items():
        assert bar == pytest.approx(known.bars[place], abs=0.01)


def golden() -> bytes:
    rows = [
        {"stage": stage, "opportunities": n, "amount": Decimal(amount)}
        for stage, n, amount in [
            ("Prospecting", 12, "903441.10"),
            ("Negotiation/Review", 4, "88120"),
            ("(unknown)", 1, 0),
        ]
    ]
    return svg("bars of opportunities, amount by stage, others added up", rows)


def test_a_png_has_the_size_of_the_picture() -> None:
    picture = plan(how("bars of amount by stage"), "Open opportunities by stage.", ROWS)
    drawn = draw.png(picture)
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", drawn[16:24])
    shown = read(draw.svg(picture))
    assert (width, height) == (1500, pytest.approx(shown.height / 72 * draw.PNG_DPI, abs=1))
    assert drawn == draw.png(picture)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ConfigError, match=r"^A picture needs what is not installed \(.+\): pip install 'headrace\[pictures\]'\.$"
    ):
        svg("bars of amount by stage", ROWS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1234567, "1,234,567"), (Decimal("999.995"), "1,000"), (Decimal("12.50"), "12.5"), (0.25, "0.25"),
        (Decimal("1234.56"), "1,235"), (-5000, "-5,000"), (Decimal("0.001"), "0"), (100, "100"), (1e15, "1,000,000,000,000,000"),
    ],
)  # fmt: skip
def test_numbers_are_told_as_people_read_them(value: Any, text: str) -> None:
    assert draw.shown(value) == text


if __name__ == "__main__":
    GOLDEN.write_bytes(golden())
