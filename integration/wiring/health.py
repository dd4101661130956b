"""How a worker is: what its probes answer. Components report here from their threads; the web server's thread asks."""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from integration.web.probes import OK, Verdict

log = structlog.get_logger()

SILENCE_SECONDS: Final = 10.0
"""The event loop beats once a second; after so many seconds without a beat it counts as stuck."""
_NOTHING_YET: Final = "It has not reported yet: the worker is starting."

Ask = Callable[[], str | None]
"""Answers at once: None while all is well, else what is wrong, in one sentence."""


class Health:
    """What the components of a worker last said, and whether its event loop runs. Safe to use from any thread.

    `expected` names the components without which the worker is not ready; each is broken until it says otherwise.
    `clock` gives seconds that never go back.

        health = Health("redis", "store", "consumer", "poller")
        health.check("consumer", consumer.healthy)    asked whenever somebody looks
        health.ok("poller")                           a report, which holds until the next one
        health.broken("store", "The disk is full.")
        health.beat()                                 once a second, on the event loop
    """

    def __init__(self, *expected: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._broken: dict[str, str] = dict.fromkeys(expected, _NOTHING_YET)
        self._notes: dict[str, str] = dict.fromkeys(expected, OK)
        self._checks: dict[str, Ask] = {}
        self._beat_at = clock()

    def expects(self, name: str) -> bool:
        """Tell whether the worker is not ready without this component."""
        with self._lock:
            return name in self._notes

    def ok(self, name: str, note: str = "") -> None:
        """Report that a component works; `note` says what an operator should know all the same."""
        with self._lock:
            self._broken.pop(name, None)
            self._notes[name] = note or OK

    def broken(self, name: str, sentence: str) -> None:
        """Report that a component does not work, and why: no values of records, no secrets."""
        with self._lock:
            self._broken[name] = sentence
            self._notes.setdefault(name, OK)

    def check(self, name: str, ask: Ask | None) -> None:
        """Have a component asked whenever somebody looks, in place of its reports; None ends that."""
        with self._lock:
            self._notes.setdefault(name, OK)
            if ask is None:
                self._checks.pop(name, None)
                self._broken[name] = _NOTHING_YET
            else:
                self._checks[name] = ask
                self._broken.pop(name, None)

    def beat(self) -> None:
        """Say that the event loop runs."""
        self._beat_at = self._clock()

    def working(self) -> dict[str, bool]:
        """Return of each component whether it works."""
        return {name: sentence is None for name, (sentence, _) in self._look().items()}

    def ready(self) -> Verdict:
        """Say whether every expected component does its work."""
        found = self._look()
        is_good = all(sentence is None for sentence, _ in found.values())
        status = OK if is_good else "not ready"
        told = {name: note if sentence is None else sentence for name, (sentence, note) in found.items()}
        return Verdict(is_good, status, told)

    def live(self) -> Verdict:
        """Say whether the event loop still answers: a process that does not should be started anew."""
        silent = self._clock() - self._beat_at
        if silent <= SILENCE_SECONDS:
            return Verdict(True, OK)
        return Verdict(False, "stuck", {"event loop": f"It has not answered for {silent:.0f} s."})

    def _look(self) -> dict[str, tuple[str | None, str]]:
        """Return for each component what is wrong (None: nothing), and its note."""
        with self._lock:
            checks, broken, notes = dict(self._checks), dict(self._broken), dict(self._notes)
        # Outside the lock: a check may take a moment, and reports must not wait for it.
        return {
            name: (_asked(name, checks[name]) if name in checks else broken.get(name), notes[name]) for name in notes
        }


def _asked(name: str, ask: Ask) -> str | None:
    try:
        return ask()
    except Exception as error:  # whatever it is, a probe gets an answer
        log.debug("probe", component=name, exc_info=True)
        return f"It can't be asked ({type(error).__name__}): look at the log."


def components(*, polls: bool, consumes: bool, has_store: bool) -> tuple[str, ...]:
    """Name the components that a worker needs for what it does."""
    needed = {"redis": polls or consumes, "store": has_store, "consumer": consumes, "poller": polls}
    return tuple(name for name, is_so in needed.items() if is_so)
