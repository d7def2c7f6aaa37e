"""Noticing that whoever is at the other end of a quiet connection has gone without a word."""

import socket

SocketOption = tuple[int, int, int]

IDLE_SECONDS, AGAIN_SECONDS, MOST_PROBES = 20, 5, 4
"""A connection on which nothing was said for so long is probed, and again; after so many in vain it is over."""


def _options() -> list[SocketOption]:
    """As this system knows them: the time to the first probe has another name on macOS."""
    idle = next((name for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE") if hasattr(socket, name)), None)
    wanted = ((idle, IDLE_SECONDS), ("TCP_KEEPINTVL", AGAIN_SECONDS), ("TCP_KEEPCNT", MOST_PROBES))
    known = [(getattr(socket, name), value) for name, value in wanted if name and hasattr(socket, name)]
    return [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, name, value) for name, value in known),
    ]


KEEPALIVE = _options()
"""For `setsockopt`, and of a listener for all that it accepts. The system's own would wait for two hours."""
