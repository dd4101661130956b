"""Every way in which Redis can be out of reach, in one sentence, without the password."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from redis.exceptions import BusyLoadingError, NoPermissionError, ReadOnlyError, ResponseError

from integration.errors import ConfigError, HeadraceError, RunError, UnreachableError
from integration.stream.connection import Client, connect, masked, reach, translated


@contextmanager
def server_that_says(words: bytes) -> Iterator[int]:
    """A server that answers every connection with the same words (none at all: it stays silent)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(100)
                connection.sendall(words)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join(10)


def test_a_server_that_answers_is_reached(redis_url: str) -> None:
    with reach(redis_url) as client:
        assert client.echo("hello") == b"hello"


def test_nothing_listens() -> None:
    with pytest.raises(UnreachableError) as caught:
        reach("redis://:s3cret@127.0.0.1:1/0")
    assert str(caught.value) == (
        "Redis at 127.0.0.1:1 does not answer: start it, or set redis.url (HEADRACE_REDIS__URL) to a server that runs."
    )


def test_no_such_host_and_no_such_socket() -> None:
    with pytest.raises(UnreachableError, match=r"Redis at redis\.invalid:6379 does not answer"):
        reach("redis://redis.invalid")
    with pytest.raises(UnreachableError, match=r"Redis at /nowhere/redis\.sock does not answer"):
        reach("unix:///nowhere/redis.sock")


@pytest.mark.parametrize("password", ["", "wr0ng"])
def test_a_refused_login_is_a_setting_to_change(redis_url: str, password: str) -> None:
    port = urlsplit(redis_url).port
    with pytest.raises(ConfigError, match=f"Redis at 127.0.0.1:{port} refuses the login: set") as caught:
        reach(f"redis://:{password}@127.0.0.1:{port}/0" if password else f"redis://127.0.0.1:{port}")
    assert caught.value.exit_code == 2
    assert "wr0ng" not in str(caught.value)


def test_a_database_that_is_not_there(redis_url: str) -> None:
    with pytest.raises(ConfigError, match="has no database of that number"):
        reach(redis_url.removesuffix("/0") + "/999")


def test_a_server_of_another_kind() -> None:
    with (
        server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port,
        pytest.raises(ConfigError, match="does not speak the Redis protocol"),
    ):
        reach(f"redis://127.0.0.1:{port}")


def test_a_server_that_hangs_up() -> None:
    with server_that_says(b"") as port, pytest.raises(UnreachableError, match="does not answer"):
        reach(f"redis://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://user:s3cret@localhost",
        "postgresql://me:s3cret@localhost/db",
        "redis://:s3cret@localhost:port/0",
        "redis://:s3cret@[::1",
        "redis://localhost?password=s3cret&db=x",
    ],
)
def test_what_is_no_redis_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a Redis URL") as caught:
        connect(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@localhost:6379/0", "redis://***@localhost:6379/0"),
        ("rediss://me:p@w@host/1", "rediss://***@host/1"),
        ("redis://localhost:6379", "redis://localhost:6379"),
        ("redis://localhost?password=pw&db=2", "redis://localhost?password=***&db=2"),
        ("unix://:pw@/run/redis.sock?db=1", "unix://***@/run/redis.sock?db=1"),
        ("me:pw@localhost", "***"),
        ("embedded", "embedded"),
    ],
)
def test_a_masked_url_shows_the_place_only(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (BusyLoadingError("LOADING"), UnreachableError, "still loading its data"),
        (NoPermissionError("no permissions to run 'xadd'"), ConfigError, "does not allow its user this"),
        (ReadOnlyError("You can't write against a read only replica."), UnreachableError, "takes no writes now"),
        (ResponseError("MISCONF Errors writing to the AOF file"), UnreachableError, "takes no writes now"),
        (ResponseError("ERR syntax error"), RunError, "refused a command: ERR syntax error."),
        (
            ResponseError("Command # 2 (XADD crm.contact * data Miller) of pipeline caused error: WRONGTYPE x"),
            RunError,
            "refused a command: WRONGTYPE x.",
        ),
    ],
)
def test_what_a_server_refuses_is_told_by_what_to_do(
    error: ResponseError, kind: type[HeadraceError], words: str
) -> None:
    told = translated(error, "redis:6379")
    assert type(told) is kind
    assert words in str(told)
    assert "Miller" not in str(told)


def test_a_client_does_not_show_its_password(redis_url: str) -> None:
    password = urlsplit(redis_url).password
    client: Client = connect(redis_url)
    assert password
    assert password not in repr(client)
