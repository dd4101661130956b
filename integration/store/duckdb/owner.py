"""Who owns a store's file. DuckDB lets one process in; that process leaves a note beside the file with the address
at which it answers queries for everyone else."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from integration.errors import UnreachableError
from integration.processes import is_alive
from integration.store.ownership import Owner


def owner_file(path: Path) -> Path:
    """Return where the owner of a store's file leaves its note: `<file>.owner.json`."""
    return path.with_name(f"{path.name}.owner.json")


def announce(path: Path, *, url: str, token: str, started_at: str) -> Owner:
    """Write the note for this process, readable by this user only, and return what it says.

    Raises UnreachableError if it can't be written.
    """
    owner = Owner(os.getpid(), url, token, started_at)
    told = asdict(owner)
    del told["host"]  # a file is on one machine
    note = owner_file(path)
    fresh = note.with_name(f"{note.name}.{owner.pid}")
    try:
        fresh.unlink(missing_ok=True)
        # Created with its final rights: there is no moment at which another user could read the token.
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(told, file)
        fresh.replace(note)
    except OSError as error:
        raise UnreachableError(f"{note} can't be written ({error.strerror}): make its directory writable.") from error
    return owner


def withdraw(path: Path) -> None:
    """Remove this process's note; one that another process left stays."""
    owner = _read(owner_file(path))
    if owner is not None and owner.pid == os.getpid():
        owner_file(path).unlink(missing_ok=True)


def find_owner(path: Path) -> Owner | None:
    """Return the living process that says it owns the file; None when there is none (a stale note is ignored)."""
    owner = _read(owner_file(path))
    return owner if owner is not None and is_alive(owner.pid) else None


def _read(note: Path) -> Owner | None:
    try:
        told = json.loads(note.read_text("utf-8"))
        return Owner(int(told["pid"]), str(told["url"]), str(told["token"]), str(told["started_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Not there, half written or damaged: it names nobody.
        return None
