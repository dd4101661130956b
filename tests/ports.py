"""Ports for what has to answer at one address over several lives."""

import random
import socket
from contextlib import suppress

_BELOW_THE_EPHEMERAL = range(15_000, 32_000)
"""Systems give connections that go out ports from 32,768 on (Linux) or 49,152 on (the others): none of these is taken by
one of them while its server is down."""


def free_port() -> int:
    """Return a port of this machine at which nobody listens."""
    while True:
        port = random.SystemRandom().choice(_BELOW_THE_EPHEMERAL)
        with suppress(OSError), socket.socket() as probing:
            probing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probing.bind(("127.0.0.1", port))
            return port
