"""A proxy between clients and a Postgres that strikes at statements: it cuts a connection when its statement has
been carried out and nobody told, or has the test do something while a statement is on its way.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit, urlunsplit

from servers.delay import Writer, delayed
from services.embedded.layout import SOCKET_NAME

HOST = "127.0.0.1"
LOT_BYTES = 1 << 18
HEAD_BYTES = 5
"""A letter for its kind, and its size."""
ENCRYPTION_REQUESTS = (80877103, 80877104)
"""The codes by which a client asks for TLS or GSSAPI before it says who it is; it is answered with one byte."""
PARSE, BIND, QUERY, SYNC = b"P", b"B", b"Q", b"S"
COMPLETE, ERROR, READY = b"C", b"E", b"Z"
IDLE = b"I"
"""What a server that is ready says of the transaction: that there is none."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as a client has it carried out.

    `bound` are its parameters as they go over the wire; `reads_only` says that its transaction began by saying so.
    """

    text: str
    bound: bytes = b""
    reads_only: bool = False


Wanted = Callable[[Statement], bool]
"""Whether a statement is one to strike at."""


@dataclass(slots=True, eq=False)
class Trap:
    """Strikes at so many wanted statements: cuts the connection, or calls `strike` in the place of that.

    A connection is cut when the server has carried the statement out and committed, before the answer to it is
    passed back: what failed, or did nothing, does not count, and is answered. `strike` is called when the server
    has the statement but for its end, at which it commits; that counts where no answer ever comes.
    """

    wanted: Wanted
    times: int
    strike: Callable[[], None] | None = None
    struck: int = 0
    in_vain: int = 0
    _open: int = 0
    _failure: Exception | None = None
    _sprung: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, statement: Statement) -> bool:
        """Whether it strikes at this statement; then it is told how that went."""
        if self._failure is not None or self.struck + self._open == self.times or not self.wanted(statement):
            return False
        self._open += 1
        return True

    def told(self, *, has_struck: bool) -> None:
        """What became of a statement that was taken."""
        self._open -= 1
        self.struck += has_struck
        self.in_vain += not has_struck
        if self.struck == self.times:
            self._sprung.set()

    def call(self) -> None:
        """Strike. What goes wrong there is raised to those who wait."""
        assert self.strike is not None
        try:
            self.strike()
        except Exception as error:
            self._failure = error
            self._sprung.set()

    async def until_sprung(self) -> None:
        """Wait until it has struck so often. Raises whatever `strike` has raised."""
        await self._sprung.wait()
        if self._failure is not None:
            raise self._failure


class PostgresProxy:
    """Listens on the loopback address, and speaks to the server whose address is that of a unix socket."""

    def __init__(self, url: str, delay_seconds: float = 0.0) -> None:
        self._delay_seconds = delay_seconds
        parameters = parse_qs(urlsplit(url).query)
        self._socket = f"{parameters['host'][0]}/{SOCKET_NAME}"
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._traps: list[Trap] = []
        self._failures: list[Exception] = []

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)

    async def stop(self) -> None:
        """End everything. Raises, in a group, what went wrong here meanwhile."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        if self._failures:
            raise ExceptionGroup("the proxy has failed", self._failures)

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
        """Call this when a wanted statement has just been sent to the server, but for its end."""
        return self._set(Trap(wanted, times, strike))

    def trap(self, statement: Statement) -> Trap | None:
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
                writers = [delayed(one, self._delay_seconds) for one in (writer, server_writer)]
                await _Connection(self, reader, writers[0], server_reader, writers[1]).run()
        except Exception as error:
            self._failures.append(error)
        finally:
            writer.close()
            del self._connections[task]


class _Connection:
    def __init__(
        self,
        proxy: PostgresProxy,
        client_reader: asyncio.StreamReader,
        client_writer: Writer,
        server_reader: asyncio.StreamReader,
        server_writer: Writer,
    ) -> None:
        self._proxy = proxy
        self._client_reader = client_reader
        self._client_writer = client_writer
        self._server_reader = server_reader
        self._server_writer = server_writer
        self._statements: dict[bytes, str] = {}
        self._reads_only = False
        self._trap: Trap | None = None
        self._is_called = self._did_nothing = False
        self._withheld: list[tuple[bytes, bytes]] = []

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
                await asyncio.wait(ways)
            for way in ways:
                if not way.cancelled():
                    way.result()
        finally:
            self._server_writer.close()
            if self._trap is not None:  # no answer will come any more
                self._settle(has_struck=self._is_called)

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
        async for messages in _lots(self._client_reader):
            said = bytearray()
            for kind, body in messages:
                self._look(kind, body)
                if kind in (SYNC, QUERY) and self._trap is not None and self._trap.strike is not None:
                    self._is_called = True
                    self._server_writer.write(bytes(said))  # the server is to have it but for its end
                    said.clear()
                    self._trap.call()
                said += _encoded(kind, body)
            self._server_writer.write(bytes(said))

    def _look(self, kind: bytes, body: bytes) -> None:
        """Take note of what is asked for. A statement is named when parsed, and run by its name."""
        if kind == PARSE:
            name, text, _ = body.split(b"\0", 2)
            self._statements[name] = text.decode()
        elif kind == BIND and self._trap is None:
            _, name, bound = body.split(b"\0", 2)
            self._trap = self._proxy.trap(Statement(self._statements.get(name, ""), bound, self._reads_only))
        elif kind == QUERY and self._trap is None:
            text = body.rstrip(b"\0").decode()
            if text.startswith("BEGIN"):
                self._reads_only = "READ ONLY" in text
            self._trap = self._proxy.trap(Statement(text, b"", self._reads_only))

    async def _carry_answers(self) -> None:
        """A client asks one thing at a time, so the next time that the server is ready it has done that."""
        async for messages in _lots(self._server_reader):
            said = bytearray()
            for kind, body in messages:
                if self._trap is None:
                    said += _encoded(kind, body)
                elif self._is_cut(self._trap, kind, body):
                    return
                elif self._trap is None or self._trap.strike is not None:
                    said += b"".join(_encoded(*message) for message in self._withheld)
                    self._withheld.clear()
            self._client_writer.write(bytes(said))

    def _is_cut(self, trap: Trap, kind: bytes, body: bytes) -> bool:
        """Take one message of the answer to a statement that was taken; whether the connection ends with it."""
        self._withheld.append((kind, body))
        self._did_nothing |= kind == ERROR or (kind == COMPLETE and _says_nothing_was_done(body))
        if kind != READY:
            return False
        has_struck = trap.strike is None and body == IDLE and not self._did_nothing
        self._settle(has_struck=has_struck)
        return has_struck

    def _settle(self, *, has_struck: bool) -> None:
        assert self._trap is not None
        self._trap.told(has_struck=has_struck)
        self._trap, self._is_called, self._did_nothing = None, False, False


def _says_nothing_was_done(tag: bytes) -> bool:
    """No row was written or returned, as where somebody was fenced; or a COMMIT found that there was an error."""
    words = tag.rstrip(b"\0").split()
    return words == [b"ROLLBACK"] or words[-1] == b"0"


async def _lots(reader: asyncio.StreamReader) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    """What one side says, until it has gone: the messages that have come whole, kind and body, lot by lot.

    Sent one by one, each row of an answer would be a call of the system, and would wake whoever waits for all.
    """
    begun = bytearray()
    while data := await reader.read(LOT_BYTES):
        begun += data
        messages, start = [], 0
        while len(begun) >= start + HEAD_BYTES:
            (size,) = struct.unpack_from(">i", begun, start + 1)
            assert size >= HEAD_BYTES - 1, "no message of Postgres"
            end = start + 1 + size
            if len(begun) < end:
                break
            messages.append((bytes(begun[start : start + 1]), bytes(begun[start + HEAD_BYTES : end])))
            start = end
        del begun[:start]
        if messages:
            yield messages


def _encoded(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


@asynccontextmanager
async def postgres_proxy(url: str, delay_seconds: float = 0.0) -> AsyncIterator[PostgresProxy]:
    """A proxy to the server of this address, as long as the block lasts; all takes so much longer, either way."""
    proxy = PostgresProxy(url, delay_seconds)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
