"""A Valkey in cluster mode that has all the slots: it refuses what a part of a cluster would refuse, to take keys of two
slots together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from integration.stream import valkey
from integration.stream.connection import Client, connect


@contextmanager
def in_cluster_mode(folder: Path) -> Iterator[str]:
    """Give the URL of such a server; its files lie in this folder."""
    place, bus = urlsplit(valkey._new_url()), urlsplit(valkey._new_url())
    lines = {
        "bind": "127.0.0.1", "port": place.port, "requirepass": place.password, "dir": folder, "logfile": "log",
        "cluster-enabled": "yes", "cluster-port": bus.port, "save": '""',
    }  # fmt: skip
    folder.joinpath("conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    process = Popen([valkey._binary(), folder / "conf"])
    try:
        with connect(place.geturl()) as client:
            _take_all_slots(client)
        yield place.geturl()
    finally:
        process.kill()
        process.wait()


def _take_all_slots(client: Client) -> None:
    """Give the server all slots, and wait until it serves them: some two seconds."""
    deadline = time.monotonic() + 20
    is_given = False
    while True:
        try:
            is_given = is_given or bool(client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383))  # type: ignore[no-untyped-call]
            client.set("is it up", 1)
        except RedisError:
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.02)
        else:
            return
