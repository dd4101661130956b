"""Every error a user meets, by what to do next.

HeadraceError              one sentence that says what happened and what to do; never a traceback
├── UsageError        2    the command's words are off: type it differently
├── ConfigError       2    a setting is wrong or missing: change it
│   └── MissingStoreError  nothing has been stored yet
├── UnreachableError  3    Salesforce, Redis or the store does not answer: start it, or try again later
├── RunError          1    it ran and failed: read the sentence
│   └── FencedError        another worker has taken over meanwhile
├── SkippedError      4    finished, with dead letters or skipped records: look at them
└── CheckError        5    a check found problems: each is printed with its remedy
"""


class HeadraceError(Exception):
    """An error with a sentence for the user and an exit code for scripts."""

    exit_code = 1


class UsageError(HeadraceError):
    """The command was typed wrongly: an unknown object, SQL that does not parse, a bad time."""

    exit_code = 2


class ConfigError(HeadraceError):
    """A setting is wrong or missing, a refused login included."""

    exit_code = 2


class MissingStoreError(ConfigError):
    """There is no store at the place that the settings name: none was ever made, or it is another place."""


class UnreachableError(HeadraceError):
    """Salesforce, Redis or the store can't be reached now."""

    exit_code = 3


class RunError(HeadraceError):
    """The work started and failed."""

    exit_code = 1


class FencedError(RunError):
    """Another worker has taken over: nothing of what this one was writing is stored."""


class SkippedError(HeadraceError):
    """The work finished, but some entries were given up or skipped."""

    exit_code = 4


class CheckError(HeadraceError):
    """A check ran and found problems."""

    exit_code = 5
