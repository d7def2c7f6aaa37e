"""Free ports on the loopback address."""

import os
import random
import re
import socket

BELOW_THE_EPHEMERAL = range(20_000, 32_000)
"""Here no outgoing connection of another process takes the port while its server is down for a restart."""
SHARES = 16
_GIVEN_OUT: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return that many different ports on which nobody listens now."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_own())
        if port not in _GIVEN_OUT and _is_free(port):
            found.append(port)
            _GIVEN_OUT.add(port)
    return found


def _own() -> range:
    """Those of this process alone: they are bound seconds later, and tests run side by side."""
    number = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % SHARES
    return BELOW_THE_EPHEMERAL[number::SHARES]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
