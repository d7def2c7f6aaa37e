"""Both ends of a quiet connection find out within a minute that the other is gone."""

import asyncio
import socket

from services.api.app import _listen
from services.cli.client import connected
from services.keepalive import AGAIN_SECONDS, IDLE_SECONDS, KEEPALIVE, MOST_PROBES

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ncontent-length: 3\r\n\r\n{}\n"


def _options(of: socket.socket) -> list[tuple[int, int, int]]:
    return [(level, name, of.getsockopt(level, name)) for level, name, _ in KEEPALIVE]


async def test_the_api_and_whoever_follows_a_run_probe_a_quiet_connection() -> None:
    assert len(KEEPALIVE) == 4
    assert IDLE_SECONDS + AGAIN_SECONDS * MOST_PROBES <= 60
    accepted: list[socket.socket] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer.get_extra_info("socket"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()

    listener = _listen(("127.0.0.1", 0))
    async with (
        await asyncio.start_server(answer, sock=listener),
        connected(f"http://127.0.0.1:{listener.getsockname()[1]}", None) as client,
        client._http.stream("GET", "/runs/shop-1/events") as following,
    ):
        ours = following.extensions["network_stream"].get_extra_info("socket")
        assert _options(ours) == KEEPALIVE
        assert _options(accepted[0]) == KEEPALIVE
