"""Keys under the names they had before the first release: moved once to those of today, when the server is reached.

Can be deleted, and `names.LAYOUT_KEY` with it, one release after the first.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from redis import Redis
from redis.exceptions import (
    ClusterCrossSlotError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from integration.errors import ConfigError
from integration.stream.names import LAYOUT_KEY, buried_key, cursor_key, seen_key, settled_key

_LAYOUT: Final = b"2"
_OLD: Final = re.compile(r"headrace:(cursor|seen|buried|settled):([^{}]+)")
_NEW: Final[Mapping[str, Callable[[str], str]]] = {
    "cursor": cursor_key,
    "seen": seen_key,
    "buried": buried_key,
    "settled": settled_key,
}


def rename_old_keys(client: Redis) -> int:
    """Give keys their present names; return how many had old ones.

    One GET where that was done before. Any number of processes may do it at once: none goes on before every key that
    it found has its new name, and a key that is there under its new name stays as it is. Raises ConfigError where a
    server in cluster mode holds such keys, and what redis-py raises.
    """
    if client.get(LAYOUT_KEY) == _LAYOUT:
        return 0
    moved = 0
    # One that is full is looked through again the next time; who may only look leaves it to others.
    with suppress(OutOfMemoryError, ReadOnlyError, NoPermissionError):
        for key in client.scan_iter(match="headrace:*", count=1000):
            if old := _OLD.fullmatch(key.decode("utf-8", "backslashreplace")):
                moved += _rename(client, old[0], _NEW[old[1]](old[2]))
        client.set(LAYOUT_KEY, _LAYOUT)
    return moved


def _rename(client: Redis, old: str, new: str) -> bool:
    try:
        return bool(client.renamenx(old, new))
    except ClusterCrossSlotError:
        raise ConfigError(
            f"The key {old} comes from an older headrace, and a Redis in cluster mode can't rename it: start this "
            "version once on a copy of the data that is not in cluster mode, or delete the keys of headrace here to "
            "have everything read again."
        ) from None
    except ResponseError as error:
        if "no such key" in str(error):
            return False  # another process was faster
        raise
