"""Reads pictures back: what an SVG file shows, without the program that drew it."""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

_PLACE = re.compile(r"(-?[\d.]+) (-?[\d.]+)")


@dataclass
class Shown:
    """What is drawn: the texts in their order, which of them end where (those that are put by their end), and of each bar
    (panel, row, part) where it begins and how long it is. All lengths are points."""

    texts: list[str] = field(default_factory=list)
    ends: dict[str, float] = field(default_factory=dict)
    bars: dict[tuple[int, int, int], tuple[float, float]] = field(default_factory=dict)
    colours: dict[tuple[int, int, int], str] = field(default_factory=dict)
    lines: dict[tuple[int, int], list[tuple[float, float]]] = field(default_factory=dict)
    width: float = 0
    height: float = 0


def read(drawn: bytes) -> Shown:
    """Return what a picture shows. Raises ParseError for what is no XML."""
    root = ElementTree.fromstring(drawn)
    found = Shown(
        width=float(root.attrib["width"].removesuffix("pt")), height=float(root.attrib["height"].removesuffix("pt"))
    )
    for one in root.iter():
        if one.tag.endswith("}text"):
            found.texts.append("".join(one.itertext()))
            if "text-anchor: end" in one.attrib["style"]:
                found.ends[found.texts[-1]] = float(one.attrib["x"])
        kind, *numbers = one.get("id", "").split("-")
        if kind in ("bar", "line"):
            path = next(inner for inner in one.iter() if inner.tag.endswith("}path"))
            points = [(float(x), float(y)) for x, y in _PLACE.findall(path.attrib["d"])]
            place = tuple(map(int, numbers))
            if kind == "line":
                found.lines[place] = points  # type: ignore[index]
            else:
                begins, ends = points[0][0], points[1][0]
                found.bars[place] = (begins, ends - begins)  # type: ignore[index]
                found.colours[place] = path.attrib["style"].partition("fill: ")[2][:7]  # type: ignore[index]
    return found
