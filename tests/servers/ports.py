"""Free ports on the loopback address."""

import random
import socket

BELOW_THE_EPHEMERAL = range(20_000, 32_000)
"""Here no outgoing connection of another process takes the port while its server is down for a restart."""


def free_ports(count: int) -> list[int]:
    """Return that many different ports on which nobody listens now."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(BELOW_THE_EPHEMERAL)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
