"""Results as text for a terminal and as Markdown for docs/, written between markers so that the page shows a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles
from typing import Any

from rows import Row

HEAD = (
    "work",
    "CPU s",
    "of the plain script",
    "wall s",
    "records/s",
    "peak MB",
    "API calls",
    "Valkey CPU s",
    "org CPU s",
)

NAMES = (
    "machine", "rows", "delay", "product", "big", "growth", "growth-postgres", "growth-layers", "profile-first",
    "profile-changes",
)  # fmt: skip
"""The tables that a page can show."""

Line = Sequence[str]


def lines(rows: Sequence[Row]) -> list[Line]:
    """Return the cells of the table, the headings first."""
    return [HEAD, *(_cells(row) for row in rows)]


def text(table: Sequence[Line]) -> str:
    """Lay a table out for a terminal."""
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 or len(line) == 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def markdown(table: Sequence[Line]) -> str:
    """Lay a table out for a page."""
    rule = ["---", *(["---:"] * (len(table[0]) - 1) if len(table[0]) > 2 else ["---"])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (table[0], rule, *table[1:]))


def write(page: Path, name: str, content: str) -> None:
    """Replace what stands between the markers of a table."""
    begin, end = _markers(name)
    head, _, rest = page.read_text().partition(begin)
    page.write_text(f"{head}{begin}\n\n{content.strip()}\n\n{end}{rest.partition(end)[2]}")


def check(page: Path) -> None:
    """Raise SystemExit unless the page has a place for each table; better now than at the end of a run."""
    text = page.read_text() if page.exists() else ""
    for name in NAMES:
        begin, end = _markers(name)
        if end not in text.partition(begin)[2]:
            raise SystemExit(f"{page} has no lines {begin} and {end} to write between.")


def delays(found: Sequence[float], interval: float) -> list[Line]:
    """Return the table of how long single changes took, in seconds."""
    cuts = quantiles(found, n=100, method="inclusive")
    seconds = (cuts[49], cuts[94], max(found))
    return [
        ("poll.interval_seconds", "changes", "median s", "p95 s", "longest s"),
        (f"{interval:g}", str(len(found)), *(f"{one:.2f}" for one in seconds)),
    ]


def growth(found: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return the table of what a change costs in stores of several sizes."""
    head = ("records in the store", "CPU ms per change", "of the first size", "wall ms per change",
            "CPU µs per record of the load", "peak MB", "store MB")  # fmt: skip
    least = found[0]["cpu_ms"]
    lines = [
        (
            f"{one['records']:,}",
            f"{one['cpu_ms']:.3f} ({one['least']:.3f} to {one['most']:.3f})",
            f"{one['cpu_ms'] / least:.2f}x",
            f"{one['wall_ms']:.3f}",
            f"{one['fill_us']:.0f}",
            f"{one['peak_mb']:,.0f}",
            f"{one['store_mb']:,.0f}" if one["store_mb"] else "",
        )
        for one in found
    ]
    return [head, *lines]


def growth_by_layer(found: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return the table of what a change costs by layer, in milliseconds of CPU, what grows most first."""
    names = {name for one in found for name in one["layers"]}
    grown = {name: found[-1]["layers"].get(name, 0.0) - found[0]["layers"].get(name, 0.0) for name in names}
    lines = [
        (name, *(f"{one['layers'].get(name, 0.0):.4f}" for one in found))
        for name in sorted(names, key=lambda name: -grown[name])
        if any(one["layers"].get(name, 0.0) >= 0.001 for one in found)
    ]
    return [("CPU ms per change", *(f"{one['records']:,} records" for one in found)), *lines]


def plain(found: object) -> Any:
    """Return rows and cells as what JSON can hold."""
    if isinstance(found, Row):
        ratio, against = found.ratio, found.against.name if found.against else None
        return {**asdict(found), "against": against, "cpu": found.cpu, "ratio": ratio}
    return [plain(one) for one in found] if isinstance(found, list | tuple) else found


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return (
        f"{value:.0f}"
        if value >= 100
        else f"{value:.1f}"
        if value >= 10
        else f"{value:.2f}"
        if value >= 0.1
        else f"{value:.3f}"
    )


def _cells(row: Row) -> Line:
    cost = row.cost
    spread = sorted(run.cpu for run in row.runs)
    cpu = number(row.cpu) + (f" ({number(spread[0])} to {number(spread[-1])})" if len(spread) > 1 else "")
    return (
        row.name,
        cpu,
        f"{row.ratio:.2f}x" if row.ratio is not None else "",
        number(cost.wall),
        f"{row.records / cost.wall:,.0f}" if row.records else "",
        f"{cost.peak:,.0f}",
        f"{cost.calls:,.1f}".removesuffix(".0"),
        number(cost.redis) if cost.redis >= 0.005 else "",
        number(cost.org) if cost.org >= 0.005 else "",
    )


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- bench: {name} -->", f"<!-- end of {name} -->"
