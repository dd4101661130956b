"""Draws pictures with matplotlib: the same bytes for the same picture, without a date in them.

Colours are those of Okabe and Ito, which people who see no red or no green can tell from each other. Sizes are inches.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from integration.errors import ConfigError
from integration.pictures.how import Kind
from integration.pictures.plan import Number, Panel, Picture, Series, is_wide, letters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PNG_DPI: Final = 150
WIDTH: Final = 10.0
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#444444")
_REST: Final = "#999999"
_INK, _PALE, _GRID = "#222222", "#666666", "#E4E4E4"
_MARGIN, _GAP = 0.25, 0.3
_ROW, _LINE, _LINES = 0.29, 0.24, 1.75
_CHARACTER: Final = 0.078
"""How wide a character of a label is, on average and a bit."""
_TITLE_CHARACTERS: Final = 92
_POINTS: Final = 40
"""Up to so many, each value of a line has a point."""
_TIMES: Final = ("%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S")
"""How ticks are told that lie years, months, days, hours, minutes or seconds apart."""
_SIZE: Final = 9
"""Of texts, in points."""
_FONT: Final = "DejaVu Sans"
"""Comes with matplotlib."""
_FONTS_BESIDE: Final = ("Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Emoji")
_STYLE: Final[Mapping[Any, Any]] = {
    "svg.hashsalt": "headrace", "svg.fonttype": "none", "text.parse_math": False, "axes.unicode_minus": False,
    "font.size": _SIZE, "text.color": _INK,
}  # fmt: skip


def svg(picture: Picture, source: str = "") -> bytes:
    """Return the picture as SVG; `source` is told below it. Raises ConfigError where matplotlib is not installed."""
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    return _rendered(picture, source, "svg", metadata={**nothing, "Title": picture.title})


def png(picture: Picture, source: str = "") -> bytes:
    """Return the picture as PNG, as `svg` does."""
    return _rendered(picture, source, "png", dpi=PNG_DPI, metadata={"Software": None})


def shown(value: Number) -> str:
    """Return a number as people read it: `1,346,856`; two decimals at most, and none from a thousand on."""
    exact = Decimal(str(value))
    text = f"{exact:,.{0 if abs(exact) >= 1000 else 2}f}"
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if short == "-0" else short


def _rendered(picture: Picture, source: str, form: str, **options: Any) -> bytes:
    with _matplotlib(form):
        figure = _drawn(picture, source)
        made = io.BytesIO()
        figure.savefig(made, format=form, facecolor="white", **options)
    return made.getvalue()


@contextmanager
def _matplotlib(form: str) -> Iterator[None]:
    """Draw as we do, whatever the settings of this machine are."""
    try:
        import matplotlib as mpl
        from matplotlib import font_manager
    except ImportError as error:
        raise ConfigError(
            f"A picture needs what is not installed ({error}): pip install 'headrace[pictures]'."
        ) from error
    # An SVG has texts as texts: who shows it finds the signs. So it is the same whatever fonts this machine has.
    others = {*font_manager.get_font_names()} if form == "png" else set()
    fonts = [_FONT, *(name for name in _FONTS_BESIDE if name in others)]
    with warnings.catch_warnings(), mpl.rc_context():
        # A sign of which no font here knows the shape is drawn as a box.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing", category=UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, "font.family": [*fonts, "sans-serif"], "font.sans-serif": [_FONT]})
        yield


def _drawn(picture: Picture, source: str) -> "Figure":
    from matplotlib.figure import Figure

    title = textwrap.wrap(picture.title, _TITLE_CHARACTERS)
    legend = _names(picture)
    head = _MARGIN + _LINE * len(title) + 0.16
    legend_lines = _wrapped(legend)
    below = head + _LINE * len(legend_lines)
    body = _body_height(picture)
    foot = 0.45
    height = below + body + foot
    figure = Figure(figsize=(WIDTH, height))
    figure.text(
        _MARGIN / WIDTH, 1 - _MARGIN / height, "\n".join(title), va="top", size=12, weight="bold", linespacing=1.25
    )
    _write_legend(figure, legend_lines, head, height)
    figure.text(_MARGIN / WIDTH, 0.16 / height, picture.note, size=7.5, color=_PALE, va="bottom")
    figure.text(1 - _MARGIN / WIDTH, 0.16 / height, source, size=7.5, color=_PALE, va="bottom", ha="right")
    area = (height - below - body, body, height)
    if not picture.labels:
        figure.text(_MARGIN / WIDTH, (area[0] + body / 2) / height, "There is nothing to show.", color=_PALE)
    elif picture.kind is Kind.LINES:
        _draw_lines(figure, picture, area)
    else:
        _draw_bars(figure, picture, area)
    return figure


def _body_height(picture: Picture) -> float:
    if picture.kind is Kind.LINES and picture.labels:
        return len(picture.panels) * (_LINES + 0.5)
    return 0.35 + _ROW * max(len(picture.labels), 1)


def _names(picture: Picture) -> list[tuple[str, str]]:
    """List (name, colour) of what needs a legend: nothing, where there is one series."""
    series = picture.panels[0].series
    return [(one.name, _colour(n, one.is_rest)) for n, one in enumerate(series)] if len(series) > 1 else []


def _colour(number: int, is_rest: bool) -> str:
    return _REST if is_rest else _COLOURS[number % len(_COLOURS)]


def _wrapped(names: Sequence[tuple[str, str]]) -> list[list[tuple[str, str, float]]]:
    """Put the legend into lines: (name, colour, where it begins)."""
    lines: list[list[tuple[str, str, float]]] = []
    at = WIDTH
    for name, colour in names:
        width = 0.45 + _width(name)
        if at + width > WIDTH - _MARGIN:
            lines.append([])
            at = _MARGIN
        lines[-1].append((name, colour, at))
        at += width
    return lines


def _width(text: str) -> float:
    """Return how much room to leave for a text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    # Which font has the wide signs is up to who shows the picture: they are as wide as they are high in all of them.
    narrow = "".join(sign for sign in text if not is_wide(sign))
    font = FontProperties(family=_FONT, size=_SIZE)
    points: float = text_to_path.get_text_width_height_descent(narrow, font, ismath=False)[0] if narrow else 0.0
    return max((points + _SIZE * (len(text) - len(narrow))) / 72, _CHARACTER * letters(text))


def _write_legend(
    figure: "Figure", lines: Sequence[Sequence[tuple[str, str, float]]], head: float, height: float
) -> None:
    from matplotlib.patches import Rectangle

    for number, line in enumerate(lines):
        y = 1 - (head + _LINE * (number + 0.5)) / height
        for name, colour, at in line:
            box = Rectangle((at / WIDTH, y - 0.055 / height), 0.11 / WIDTH, 0.11 / height, color=colour, lw=0)
            figure.add_artist(box)
            figure.text((at + 0.18) / WIDTH, y, name, va="center_baseline")


def _draw_bars(figure: "Figure", picture: Picture, area: tuple[float, float, float]) -> None:
    bottom, _, height = area
    labels = [str(label) for label in picture.labels]
    left = _MARGIN + max(map(_width, labels)) + 0.1
    each = (WIDTH - _MARGIN - left - _GAP * (len(picture.panels) - 1)) / len(picture.panels)
    bars = _ROW * len(labels)
    # What is no thing of its own steps back: `(unknown)`, and all others together.
    grey = {row for row, label in enumerate(labels) if label.startswith("(")}
    grey |= {len(labels) - 1} if picture.has_rest else set()
    for number, panel in enumerate(picture.panels):
        at = left + number * (each + _GAP)
        axes = figure.add_axes((at / WIDTH, bottom / height, each / WIDTH, bars / height))
        _bare(axes)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        _fill(axes, panel, each, number, grey)
        figure.text(at / WIDTH, (bottom + bars + 0.1) / height, panel.name, va="bottom", weight="bold")
    for place, label in enumerate(labels):
        y = bottom + bars - _ROW * (place + 0.5)
        figure.text((left - 0.1) / WIDTH, y / height, label, ha="right", va="center_baseline")


def _fill(axes: "Axes", panel: Panel, width: float, number: int, grey: set[int]) -> None:
    """Draw the bars of a panel, each with its number behind it."""
    count = len(panel.series[0].values)
    ends: list[list[float]] = [[0.0, 0.0] for _ in range(count)]  # how far it goes below and above nothing
    for place, series in enumerate(panel.series):
        for row, value in enumerate(series.values):
            if value is None:
                continue
            size = float(value)
            side = int(size > 0)
            is_grey = series.is_rest or (len(panel.series) == 1 and row in grey)
            bar = axes.barh(
                row, size, left=ends[row][side], height=0.66, color=_colour(place, is_grey),
                edgecolor="white", linewidth=0.6 if len(panel.series) > 1 else 0,
            )  # fmt: skip
            bar.patches[0].set_gid(f"bar-{number}-{row}-{place}")
            ends[row][side] += size
    texts = [_total(panel.series, row) for row in range(count)]
    _scale(axes, ends, [_CHARACTER * len(text) + 0.08 for text in texts], width)
    for row, text in enumerate(texts):
        is_below = ends[row][1] == 0 and ends[row][0] < 0
        axes.annotate(
            text, (ends[row][0 if is_below else 1], row), (-4 if is_below else 4, 0), textcoords="offset points",
            ha="right" if is_below else "left", va="center_baseline", color=_INK if text != "-" else _PALE,
        )  # fmt: skip


def _total(series: Sequence[Series], row: int) -> str:
    known = [one.values[row] for one in series]
    numbers = [value for value in known if value is not None]
    if not numbers:
        return "-"
    return shown(numbers[0] if len(numbers) == 1 else sum(map(float, numbers)))


def _scale(axes: "Axes", ends: Sequence[Sequence[float]], texts: Sequence[float], width: float) -> None:
    """Leave room for the numbers behind the bars."""
    lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
    room = max(texts)
    below = room if lowest < 0 else 0.0
    span = (highest - lowest) or 1.0
    inch = span / max(width - room - below, width / 4)
    axes.set_xlim(lowest - below * inch, highest + room * inch if highest > lowest else inch * width)
    axes.axvline(0, color=_PALE, linewidth=0.8)


def _bare(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.patch.set_visible(False)


def _draw_lines(figure: "Figure", picture: Picture, area: tuple[float, float, float]) -> None:
    bottom, body, height = area
    left = _MARGIN + 0.85
    for number, panel in enumerate(picture.panels):
        floor = bottom + body - (number + 1) * (_LINES + 0.5) + 0.15
        axes = figure.add_axes((left / WIDTH, floor / height, (WIDTH - left - _MARGIN) / WIDTH, _LINES / height))
        for place, series in enumerate(panel.series):
            values = [math.nan if value is None else float(value) for value in series.values]
            [line] = axes.plot(
                picture.labels, values, color=_colour(place, False), linewidth=1.8,  # type: ignore[arg-type]
                marker="o" if len(values) <= _POINTS else None, markersize=3.2,
                clip_on=False,
            )  # fmt: skip
            line.set_gid(f"line-{number}-{place}")
        _rule(axes, panel)
        figure.text(_MARGIN / WIDTH, (floor + _LINES + 0.08) / height, panel.name, va="bottom", weight="bold")


def _rule(axes: "Axes", panel: Panel) -> None:
    """Give the panel its scales: numbers from 0 on, unless some lie below, and times."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [value for series in panel.series for value in series.values if value is not None]
    low, high = axes.get_ylim()
    axes.set_ylim(low if any(value < 0 for value in values) else 0.0, high if any(values) else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=all(value == int(value) for value in values)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    times = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, formats=_TIMES, zero_formats=_TIMES, show_offset=False
    )
    axes.xaxis.set_major_formatter(times)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_PALE)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_PALE)
