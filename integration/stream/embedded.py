"""An embedded Valkey: a server of our own beside the store, shared by every headrace process that needs it.

Files in its directory (0700), readable by their owner only:

    valkey.url     where the server answers, password included; written when it does
    valkey.lock    locked (shared) by every process that uses the server; the last one out stops it
    start.lock     locked while a process looks for the server, starts it or stops it
    server.lock    locked by the server itself, through a file descriptor it inherits: while this lock is held a server
                   lives, whatever became of the one who started it, and no second server may touch the data
    valkey.log     what the server says
    appendonlydir/ the data: a write is in the file before it is answered, and on the disk within a second
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis.exceptions import RedisError

from integration.errors import ConfigError, UnreachableError
from integration.stream import valkey
from integration.stream.connection import masked
from integration.stream.valkey import Knock, knock

__all__ = ["embedded", "masked", "running_url"]

_URL_FILE = "valkey.url"
_STARTING_FILE = "valkey.url.starting"
_USERS_LOCK = "valkey.lock"
_START_LOCK = "start.lock"
_SERVER_LOCK = "server.lock"
_BEAT_SECONDS = 0.02


@contextmanager
def embedded(directory: Path) -> Iterator[str]:
    """Give the URL (password included: see `masked`) of a Valkey whose data lies in `directory`.

    A server that runs there is used, else one is started; who leaves last stops it. A server that outlived its users
    (killed, not stopped) is found again. Raises ConfigError where no server fits the system or the directory can't
    be used, UnreachableError when the server does not come up.
    """
    try:
        directory = _prepared(directory)
        users = _open(directory / _USERS_LOCK)
    except OSError as error:
        raise _unusable(directory, error) from error
    url = None
    try:
        with _locked(directory / _START_LOCK):
            # Nobody locks it exclusively without start.lock, so this does not wait.
            _flock(users, shared=True)
            url = _find_or_start(directory)
        yield url
    finally:
        _leave(directory, users, url)


def running_url(directory: Path) -> str | None:
    """Return the URL of the server that runs on the directory's data, None when there is none. Starts nothing."""
    directory = directory.resolve()
    url = _read(directory / _URL_FILE)
    return url if url and knock(url, directory) is Knock.UP else None


def _find_or_start(directory: Path) -> str:
    silent_since = time.monotonic()
    while time.monotonic() - silent_since < valkey.PATIENCE_SECONDS:
        # The second file is there only if a starter was killed while its server came up.
        for name in (_URL_FILE, _STARTING_FILE):
            url = _read(directory / name)
            answer = knock(url, directory) if url else Knock.DOWN
            if url and answer is Knock.UP:
                (directory / name).replace(directory / _URL_FILE)
                return url
            if answer is Knock.LOADING:
                silent_since = time.monotonic()
        with _server_lock(directory) as lock:
            if lock is not None:
                return _start(directory, lock)
        time.sleep(_BEAT_SECONDS)
    raise UnreachableError(
        f"A Valkey server is alive on {directory} but does not answer: look at {valkey.LOG_FILE} there, end that "
        "server, and try again."
    )


def _start(directory: Path, lock: int) -> str:
    note = directory / _STARTING_FILE
    try:
        url = valkey.start(directory, lock, note, _read(directory / _URL_FILE))
    except OSError as error:
        raise _unusable(directory, error) from error
    note.replace(directory / _URL_FILE)
    return url


def _leave(directory: Path, users: int, url: str | None) -> None:
    try:
        with _locked(directory / _START_LOCK):
            if _flock(users, wait=False):
                _stop(directory)
    except OSError:
        # The directory is gone, and with it every way to find the server again.
        if url:
            _ask_to_end(url, "SHUTDOWN NOW FORCE")
    finally:
        os.close(users)


def _stop(directory: Path) -> None:
    """Ask the server to end and wait until it has. One that does not is left alone: the next start finds it."""
    url = _read(directory / _URL_FILE)
    if not url or knock(url, directory) is Knock.DOWN:
        return
    for how in ("SHUTDOWN", "SHUTDOWN NOW FORCE"):
        _ask_to_end(url, how)
        deadline = time.monotonic() + valkey.PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with _server_lock(directory) as lock:
                if lock is not None:
                    (directory / _URL_FILE).unlink(missing_ok=True)
                    return
            time.sleep(_BEAT_SECONDS)


def _ask_to_end(url: str, how: str) -> None:
    with suppress(RedisError), valkey.probe(url) as client:
        client.execute_command(how)


def _prepared(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return directory.resolve()


def _unusable(directory: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"The embedded Valkey can't keep its data in {directory} ({error.strerror}): make the directory writable, or "
        "set redis.url (HEADRACE_REDIS__URL) to a Redis or Valkey server."
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (OSError, ValueError):
        return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = _open(path)
    try:
        _flock(file)
        yield
    finally:
        os.close(file)


@contextmanager
def _server_lock(directory: Path) -> Iterator[int | None]:
    """Give the locked descriptor of server.lock, or None while a server lives. A server started inside inherits it."""
    file = _open(directory / _SERVER_LOCK)
    try:
        yield file if _flock(file, wait=False) else None
    finally:
        os.close(file)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _flock(file: int, *, shared: bool = False, wait: bool = True) -> bool:
    try:
        import fcntl
    except ImportError:
        raise ConfigError(valkey.NO_SERVER) from None
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
