"""A proxy between clients and a Postgres that strikes at statements: it cuts a connection when its statement has
been carried out and nobody told, or has the test do something while a statement is on its way.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit, urlunsplit

from services.embedded.layout import SOCKET_NAME

HOST = "127.0.0.1"
ENCRYPTION_REQUESTS = (80877103, 80877104)
"""The codes by which a client asks for TLS or GSSAPI before it says who it is; it is answered with one byte."""
PARSE, BIND, QUERY, READY = b"P", b"B", b"Q", b"Z"

Wanted = Callable[[str], bool]
"""Whether a statement, by its text, is one to strike at."""


@dataclass(slots=True, eq=False)
class Trap:
    """Strikes at so many wanted statements: cuts the connection, or calls `strike` in the place of that.

    A connection is cut when the server has carried the statement out, before the answer to it is passed back.
    """

    wanted: Wanted
    times: int
    strike: Callable[[], None] | None = None
    struck: int = 0
    sprung: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, statement: str) -> bool:
        """Whether it strikes at this statement; then that counts."""
        if self.struck == self.times or not self.wanted(statement):
            return False
        self.struck += 1
        if self.struck == self.times:
            self.sprung.set()
        return True


class PostgresProxy:
    """Listens on the loopback address, and speaks to the server whose address is that of a unix socket."""

    def __init__(self, url: str) -> None:
        parameters = parse_qs(urlsplit(url).query)
        self._socket = f"{parameters['host'][0]}/{SOCKET_NAME}"
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._traps: list[Trap] = []

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)

    async def stop(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def through(self, url: str) -> str:
        """The address of the same database by way of this proxy."""
        assert self._server is not None, "the proxy has not been started"
        port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"{parts.username}@{HOST}:{port}", query=""))

    def cut(self, wanted: Wanted, times: int = 1) -> Trap:
        """Leave so many of the statements that are wanted without their answer."""
        return self._set(Trap(wanted, times))

    def strike(self, wanted: Wanted, strike: Callable[[], None], times: int = 1) -> Trap:
        """Call this when a wanted statement has just been sent to the server."""
        return self._set(Trap(wanted, times, strike))

    def trap(self, statement: str) -> Trap | None:
        """Who strikes at this statement."""
        return next((trap for trap in self._traps if trap.takes(statement)), None)

    def _set(self, trap: Trap) -> Trap:
        self._traps.append(trap)
        return trap

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
                await _Connection(self, reader, writer, server_reader, server_writer).run()
        finally:
            writer.close()
            del self._connections[task]


class _Connection:
    def __init__(
        self,
        proxy: PostgresProxy,
        client_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client_reader = client_reader
        self._client_writer = client_writer
        self._server_reader = server_reader
        self._server_writer = server_writer
        self._statements: dict[bytes, str] = {}
        self._is_to_be_cut = False

    async def run(self) -> None:
        """Carry both ways until one side has gone, or the connection is cut."""
        try:
            await self._begin()
            ways = [asyncio.create_task(self._carry_requests()), asyncio.create_task(self._carry_answers())]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._server_writer.close()

    async def _begin(self) -> None:
        """What a client says first has no type; to the server we speak in the clear."""
        while True:
            (size,) = struct.unpack(">i", await self._client_reader.readexactly(4))
            body = await self._client_reader.readexactly(size - 4)
            (code,) = struct.unpack_from(">i", body)
            if code not in ENCRYPTION_REQUESTS:
                break
            self._client_writer.write(b"N")
        self._server_writer.write(struct.pack(">i", size) + body)

    async def _carry_requests(self) -> None:
        while True:
            kind, body = await _message(self._client_reader)
            trap = self._trap(kind, body)
            if trap is not None and trap.strike is None:
                self._is_to_be_cut = True
            _send(self._server_writer, kind, body)
            if trap is not None and trap.strike is not None:
                trap.strike()

    def _trap(self, kind: bytes, body: bytes) -> Trap | None:
        """Who strikes at what this message asks for. A statement is named when parsed, and run by its name."""
        if kind == PARSE:
            name, text, _ = body.split(b"\0", 2)
            self._statements[name] = text.decode()
        elif kind == BIND:
            return self._proxy.trap(self._statements.get(body.split(b"\0", 2)[1], ""))
        elif kind == QUERY:
            return self._proxy.trap(body.rstrip(b"\0").decode())
        return None

    async def _carry_answers(self) -> None:
        """A client asks one thing at a time, so the next time that the server is ready it has done that."""
        while True:
            kind, body = await _message(self._server_reader)
            if not self._is_to_be_cut:
                _send(self._client_writer, kind, body)
            elif kind == READY:
                return


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(struct.unpack(">i", head[1:])[0] - 4)


def _send(writer: asyncio.StreamWriter, kind: bytes, body: bytes) -> None:
    writer.write(kind + struct.pack(">i", len(body) + 4) + body)


@asynccontextmanager
async def postgres_proxy(url: str) -> AsyncIterator[PostgresProxy]:
    """A proxy to the server of this address, as long as the block lasts."""
    proxy = PostgresProxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
