"""A proxy between Kafka clients and one broker that can hold a request on its way, and cut connections."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from servers.delay import Writer, delayed

PRODUCE, METADATA, FIND_COORDINATOR, ADD_PARTITIONS, END_TRANSACTION = 0, 3, 10, 24, 26
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it stands on the wire, without its length."""

    frame: bytes

    @property
    def api_key(self) -> int:
        """Which request it is."""
        return int(struct.unpack_from(">h", self.frame)[0])

    @property
    def correlation_id(self) -> int:
        """What its answer begins with."""
        return int(struct.unpack_from(">i", self.frame, 4)[0])

    def names(self, topic: str) -> bool:
        """Whether the topic occurs in it."""
        return topic.encode() in self.frame


Wanted = Callable[[Request], bool]


@dataclass(slots=True, eq=False)
class HeldRequest:
    """One request that is, or will be, held back. Others on its connection wait behind it."""

    wanted: Wanted
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def release(self) -> None:
        """Let it go on to the broker, and wait until that has answered."""
        self.released.set()
        await self.answered.wait()


class KafkaProxy:
    """Clients that begin here stay here: the broker's address in its answers is replaced by ours.

    Where there are several brokers, each with a proxy before it, so are the addresses of the others (`proxies`).
    """

    def __init__(self, broker_port: int, delay_seconds: float = 0.0) -> None:
        self._broker_port = broker_port
        self._delay_seconds = delay_seconds
        self._others: list[KafkaProxy] = []
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._holds: list[HeldRequest] = []

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "the proxy has not been started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def broker_port(self) -> int:
        """The port of the broker."""
        return self._broker_port

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)

    def stand_beside(self, others: Sequence["KafkaProxy"]) -> None:
        """Lead clients of these other brokers to the proxies before them."""
        self._others = [other for other in others if other is not self]

    def rewritten(self, frame: bytes) -> bytes:
        """An answer of the broker with the proxies' addresses instead of the brokers'."""
        for proxy in (self, *self._others):
            frame = frame.replace(_address(proxy.broker_port), _address(proxy.port))
        return frame

    async def stop(self) -> None:
        """End everything, held requests too."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections):
            connection.close()

    def hold(self, wanted: Wanted) -> HeldRequest:
        """Hold the next request that is wanted."""
        held = HeldRequest(wanted)
        self._holds.append(held)
        return held

    def hold_end_of_transaction(self) -> HeldRequest:
        """Hold the next EndTxn."""
        return self.hold(lambda request: request.api_key == END_TRANSACTION)

    def cut_clients(self) -> None:
        """Break every connection on the clients' side; what is held will still reach the broker."""
        for connection in list(self._connections):
            connection.client_writer.close()

    def holding(self, request: Request) -> HeldRequest | None:
        """Who wants to hold this request; each holds one."""
        for held in self._holds:
            if held.wanted(request):
                self._holds.remove(held)
                return held
        return None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        broker_reader, broker_writer = await asyncio.open_connection(HOST, self._broker_port)
        writers = [delayed(one, self._delay_seconds) for one in (writer, broker_writer)]
        connection = _Connection(self, reader, writers[0], broker_reader, writers[1])
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            connection.close()
            self._connections.discard(connection)
            self._tasks.discard(task)


class _Connection:
    def __init__(
        self,
        proxy: KafkaProxy,
        client_reader: asyncio.StreamReader,
        client_writer: Writer,
        broker_reader: asyncio.StreamReader,
        broker_writer: Writer,
    ) -> None:
        self._proxy = proxy
        self._client_reader = client_reader
        self.client_writer = client_writer
        self._broker_reader = broker_reader
        self._broker_writer = broker_writer
        self._asked: dict[int, tuple[int, HeldRequest | None]] = {}

    async def run(self) -> None:
        """Carry requests and answers until the broker has gone, or the client and nothing is held any more."""
        ways = [asyncio.create_task(self._carry_requests()), asyncio.create_task(self._carry_answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            ways += [asyncio.create_task(self._until_answered())]
            await asyncio.wait(ways[1:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
        for way in ways:
            with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
                way.result()

    async def _until_answered(self) -> None:
        for _, held in list(self._asked.values()):
            if held is not None:
                await held.answered.wait()

    def close(self) -> None:
        """Break both sides."""
        self.client_writer.close()
        self._broker_writer.close()

    async def _carry_requests(self) -> None:
        while True:
            request = Request(await _frame(self._client_reader))
            held = self._proxy.holding(request)
            self._asked[request.correlation_id] = (request.api_key, held)
            if held is not None:
                held.arrived.set()
                await held.released.wait()
            _send(self._broker_writer, request.frame)

    async def _carry_answers(self) -> None:
        while True:
            frame = await _frame(self._broker_reader)
            api_key, held = self._asked.pop(struct.unpack_from(">i", frame)[0])
            if held is not None:
                held.answered.set()
            if api_key in (METADATA, FIND_COORDINATOR):
                frame = self._proxy.rewritten(frame)
            with contextlib.suppress(ConnectionError):
                _send(self.client_writer, frame)


def _address(port: int) -> bytes:
    """A host and a port as they stand side by side in the broker's answers."""
    return HOST.encode() + struct.pack(">i", port)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _send(writer: Writer, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)


@contextlib.asynccontextmanager
async def proxies(broker_ports: Sequence[int], delay_seconds: float = 0.0) -> AsyncIterator[list[KafkaProxy]]:
    """A proxy before each of these brokers of one cluster, as long as the block lasts; all takes so much longer,
    either way.
    """
    made = [KafkaProxy(port, delay_seconds) for port in broker_ports]
    try:
        for one in made:
            await one.start()
            one.stand_beside(made)
        yield made
    finally:
        for one in made:
            await one.stop()
