"""The bench itself, at a size at which its numbers mean nothing: it times nothing here, it only has to be whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
TINY = ("--scale", "0.004", "--rounds", "1", "--seconds", "1", "--interval", "0.2", "--polls", "2")
ROWS = {
    "plain script, first sync",
    "first sync",
    "plain script, first sync, 5 histories too",
    "first sync, 5 histories too",
    "`headrace sync`, nothing new",
    "worker, one quiet poll",
    "`headrace sweep` (daily)",
    "`headrace sync` that reads calculated fields again (hourly)",
    "`headrace replay`, all of it",
    "worker, a field of an account with 40 people",
}


def bench(folder: Path, *words: str) -> dict[str, Any]:
    """Run the bench; return the numbers it found."""
    found = folder / "found.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "bench"), *words, "--json", str(found)],
        env={"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers: dict[str, Any] = json.loads(found.read_text())
    return numbers


@pytest.mark.slow
def test_every_row_is_there_with_what_it_cost(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())

    found = bench(tmp_path, *TINY, "--write", str(page))

    rows = {row["name"]: row for row in found["rows"]}
    assert ROWS - rows.keys() == set()
    for name, row in rows.items():
        assert row["cpu"] > 0, name
        assert all(run["wall"] > 0 and run["peak"] > 1 for run in row["runs"]), name
        assert all(run["calls"] > 0 for run in row["runs"]) or "replay" in name, name
    assert [name for name in ("first sync", "`headrace sync`, nothing new") if not rows[name]["ratio"]] == []
    assert found["delay"]
    assert min(found["delay"]) > 0
    loads = found["product"]
    assert len(loads) == 5
    for load in loads:
        assert (load["events"] > 0, load["lost"], load["twice"]) == (True, 0, 0), load["name"]
        assert min(load["accepted"], load["queryable"], load["cpu"], load["delays"]["median"]) > 0, load["name"]
        assert load["again"] >= 0, load["name"]
    written = page.read_text()
    assert "| first sync |" in written
    assert "| the same, the worker killed twice |" in written
    assert written.startswith(PAGE.read_text().partition("<!-- bench: machine -->")[0])


@pytest.mark.slow
def test_growth_and_profile_give_their_tables(tmp_path: Path) -> None:
    found = bench(tmp_path, *TINY, "--only", "none", "--growth", "800,1600", "--profile")

    assert [one["records"] for one in found["growth"]] == [800, 1600]
    assert all(one["cpu_ms"] > 0 and one["fill_us"] > 0 and one["store_mb"] > 0 for one in found["growth"])
    assert [one["records"] for one in found["growth-postgres"]] == [800, 1600]
    assert all(one["cpu_ms"] > 0 for one in found["growth-postgres"])
    for name in ("profile-first", "profile-changes"):
        assert any(layer.startswith("DuckDB: ") for layer in found[name])
        assert sum(found[name].values()) > 0


def test_a_page_without_a_place_for_a_table_is_refused_before_anything_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text().replace("<!-- end of growth -->", ""))

    with pytest.raises(AssertionError, match="end of growth"):
        bench(tmp_path, *TINY, "--write", str(page))
