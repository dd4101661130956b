from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor: what was looked at, what was found, and what to do about it."""

    name: str
    state: State
    sentence: str
    remedy: str = ""
