"""How an answer is best drawn, as a comment line of its SQL says it.

    -- Picture: bars of people, won_amount by channel
    -- Picture: bars of amount by opportunity_source, source_rule, others added up
    -- Picture: stacks of arr_by_account by title, industry
    -- Picture: lines of events, people over day
    -- Picture: none, people are listed one by one

Bars have a panel for each measure, and a bar for each row. Stacks have a bar for each value of the first column,
parted by the second. Lines have a panel for each measure; a second column behind the time gives a line for each of its
values. `others added up` says that what finds no room may be added up into one bar: not so where somebody counts in
several rows.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from integration.errors import UsageError

MARK: Final = "Picture: "
_HOW: Final = re.compile(
    r"(?P<kind>bars|stacks|lines) of (?P<measures>\w+(?:, \w+)*) (?:by|over) (?P<by>\w+(?:, \w+)?)"
    r"(?P<adds_up>, others added up)?"
)
_NONE: Final = "none, "


class Kind(StrEnum):
    """What a picture is made of."""

    BARS = "bars"
    STACKS = "stacks"
    LINES = "lines"


@dataclass(frozen=True, slots=True)
class How:
    """How an answer is drawn: which columns are measured, by which others."""

    kind: Kind
    measures: tuple[str, ...]
    by: tuple[str, ...]
    adds_up: bool = False


def how(told: str) -> How:
    """Read what a comment says behind `Picture: `. Raises UsageError where it says `none`, or what can't be read."""
    if told.startswith(_NONE):
        raise UsageError(f"No picture tells this better than the table: {told.removeprefix(_NONE)}.")
    found = _HOW.fullmatch(told)
    if found is None:
        raise UsageError(
            f"How to draw this can't be read ({told}): say it like `-- Picture: bars of people by channel`, "
            "with bars, stacks or lines."
        )
    kind, by = Kind(found["kind"]), tuple(found["by"].split(", "))
    measures = tuple(found["measures"].split(", "))
    if kind is Kind.STACKS and (len(by) != 2 or len(measures) != 1):
        raise UsageError("Stacks are of one measure, by two columns: one for the bars and one for their parts.")
    return How(kind, measures, by, found["adds_up"] is not None)
