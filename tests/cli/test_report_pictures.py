"""`headrace report --svg` and `--png`: pictures of what the same report prints."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "pictures"))
from svg import read

from integration.wiring.report import reports

Printed = pytest.CaptureFixture[str]


def rows_of(sample: Any, capsys: Printed, name: str) -> list[dict[str, Any]]:
    assert sample.run("report", name, "--json") == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out, parse_float=Decimal)
    return rows


@pytest.mark.parametrize("name", [one.name for one in reports() if not one.picture.startswith("none")])
def test_every_report_is_drawn_from_what_it_has(name: str, sample: Any, tmp_path: Path) -> None:
    assert sample.run("report", name, "--svg", str(tmp_path / "it.svg")) == 0
    assert f"headrace report {name}" in read((tmp_path / "it.svg").read_bytes()).texts


def test_a_picture_shows_the_rows_of_its_report(sample: Any, capsys: Printed, tmp_path: Path) -> None:
    rows = rows_of(sample, capsys, "pipeline")
    assert sample.run("report", "pipeline", "--svg", str(tmp_path / "pipeline.svg")) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"Drawn into {tmp_path / 'pipeline.svg'}.\n")
    shown = read((tmp_path / "pipeline.svg").read_bytes())
    assert {row["stage"] for row in rows} < set(shown.texts)
    for panel, measure in enumerate(("opportunities", "amount", "overdue")):
        lengths = [shown.bars[panel, place, 0][1] for place in range(len(rows))]
        unit = max(lengths) / (float(max(row[measure] for row in rows)) or 1)
        assert lengths == pytest.approx([unit * float(row[measure]) for row in rows], abs=0.01)
    assert len(rows) > 2


def test_limit_says_how_many_bars_there_may_be(sample: Any, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert sample.run("report", "pipeline", "--json") == 0
    rows = json.loads(capsysbinary.readouterr().out)
    assert sample.run("report", "pipeline", "--svg", "-", "--limit", "2") == 0
    shown = read(capsysbinary.readouterr().out)
    assert {row for _, row, _ in shown.bars} == {0, 1}
    assert f"{len(rows) - 1} others" in shown.texts
    assert f"{sum(row['opportunities'] for row in rows[1:]):,}" in shown.texts


def test_a_png_goes_to_a_file_or_a_pipe(
    sample: Any, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    assert sample.run("report", "pipeline", "--png", str(tmp_path / "it.png")) == 0
    capsysbinary.readouterr()
    assert sample.run("report", "pipeline", "--png", "-") == 0
    assert capsysbinary.readouterr().out == (tmp_path / "it.png").read_bytes()
    assert (tmp_path / "it.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_report_that_was_changed_is_drawn_as_its_file_says(sample: Any, capsys: Printed, tmp_path: Path) -> None:
    assert sample.run("report", "pipeline", "--sql") == 0
    mine = capsys.readouterr().out.replace("bars of opportunities, amount, overdue", "bars of amount")
    (tmp_path / "mine.sql").write_text(mine)
    assert sample.run("query", str(tmp_path / "mine.sql"), "--svg", str(tmp_path / "mine.svg")) == 0
    shown = read((tmp_path / "mine.svg").read_bytes())
    assert {panel for panel, _, _ in shown.bars} == {0}
    assert any(text.startswith("Open opportunities by stage") for text in shown.texts)
    assert "Amount" in shown.texts
    assert not {"Opportunities", "Overdue"} & set(shown.texts)


def test_a_file_that_does_not_say_how_it_is_drawn_is_told_how_to(sample: Any, capsys: Printed, tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text("SELECT 1 AS one")
    assert sample.run("query", str(tmp_path / "mine.sql"), "--png", str(tmp_path / "mine.png")) == 2
    assert capsys.readouterr().err == (
        "headrace: It is not said how to draw this: begin the file with two lines, `-- What it tells.` and "
        "`-- Picture: bars of people by channel`, as headrace report pipeline --sql does.\n"
    )
    assert not (tmp_path / "mine.png").exists()


def test_without_the_library_the_remedy_is_named(sample: Any, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert sample.run("report", "pipeline", "--svg", "-") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("pip install 'headrace[pictures]'.\n")
