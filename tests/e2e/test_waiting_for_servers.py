"""A first start with the log or the database away: what can come is waited for, what cannot ends it."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from servers.kafka import KafkaBroker
from servers.ports import free_ports
from services.embedded.layout import Layout
from services.embedded.postgres import EmbeddedPostgres
from support.command_line import CommandLine, until

AT_ONCE_SECONDS = 9.0


class Service:
    """A service as an operator runs it, what it says on stderr gathered as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[str] = []
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.said.append(line.decode())

    def lines(self, phrase: str) -> list[str]:
        return [line for line in self.said if phrase in line]

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def end(self) -> None:
        """By force, where it still runs."""
        if not self.ended:
            self._process.kill()
        await self.exit_code()

    async def terminated(self) -> int:
        """Its exit code after SIGTERM."""
        self._process.send_signal(signal.SIGTERM)
        return await self.exit_code()

    async def exit_code(self) -> int:
        async with asyncio.timeout(30):
            code = await self._process.wait()
        await self._listening
        return code


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[CommandLine]:
    command_line = CommandLine(tmp_path, {"AUTOPACK_PARTITIONS": "2"})
    command_line.make_repository()
    yield command_line
    await command_line.stop()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a server whose address is known before it runs: the path is short enough for its socket."""
    return tmp_path_factory.mktemp("pg")


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of somebody who lets everybody in and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


Start = Callable[..., Awaitable[Service]]


@pytest.fixture
async def start(cli: CommandLine) -> AsyncIterator[Start]:
    """Starts a command that runs services, with settings; none outlives the test."""
    services: list[Service] = []

    async def started(*command: str, **settings: str) -> Service:
        cli.variables = {**cli.variables, **{f"AUTOPACK_{name.upper()}": one for name, one in settings.items()}}
        process = await cli.start(*command)
        cli.running.remove(process)
        services.append(Service(process))
        return services[-1]

    yield started
    for service in services:
        await service.end()


async def answers(url: str) -> tuple[int, dict[str, object]] | None:
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(url, timeout=30)
    except httpx.TransportError:
        return None
    return answer.status_code, answer.json()


async def until_answered(url: str, status: int) -> dict[str, object]:
    async with asyncio.timeout(60):
        while (answer := await answers(url)) is None or answer[0] != status:
            await asyncio.sleep(0.05)
    return answer[1]


async def test_everything_waits_for_its_server_says_so_once_and_begins_when_it_is_there(
    cli: CommandLine, start: Start, home: Path, address: str
) -> None:
    server = EmbeddedPostgres(home)
    up = await start("up", log=server.url, database=server.url, listen=address)
    assert await until_answered(f"http://{address}/health/live", 200)
    body = await until_answered(f"http://{address}/health/ready", 503)
    assert {"log", "supervisor", "builder", "projector", "api"} <= set(body["troubles"])
    assert "waiting for the log" in str(body["troubles"])
    assert await until_answered(f"http://{address}/runs", 503)
    await until(lambda: up.lines("waiting for the log") and up.lines("waiting for the database"), "both named")
    assert list((cli.home / "ready").glob("*")) == []
    assert not up.ended
    async with server:
        await until_answered(f"http://{address}/health/ready", 200)
        await until(lambda: len(list((cli.home / "ready").glob("*"))) == 7, "every service's file")
        # A server that is made takes several tries of those that wait for it: all is said once all the same.
        assert len(up.lines("waiting for the log")) == len(up.lines("waiting for the database")) == 1
        assert len(up.lines("the log is there")) == len(up.lines("the database is there")) == 1
        assert (await answers(f"http://{address}/runs"))[0] == 200
        assert await up.terminated() == 0
    assert up.lines("Traceback") == []


async def test_without_the_database_runs_go_on_and_the_api_says_what_it_waits_for(
    cli: CommandLine, start: Start, home: Path, address: str, database_url: str
) -> None:
    server = EmbeddedPostgres(home)
    up = await start("up", log=database_url, database=server.url, listen=address)
    await until(lambda: (cli.home / "ready" / "supervisor").exists(), "the supervisor to be ready")
    await until(lambda: (cli.home / "ready" / "builder").exists(), "the builder to be ready")
    async with asyncio.timeout(60):  # the other workers begin as well
        while True:
            body = await until_answered(f"http://{address}/health/ready", 503)
            if set(body["troubles"]) == {"database", "projector", "api"}:
                break
            await asyncio.sleep(0.1)
    async with server:
        await until_answered(f"http://{address}/health/ready", 200)
        assert await up.terminated() == 0


async def test_a_service_waits_for_a_broker_and_begins_when_it_is_there(
    cli: CommandLine, start: Start, own_kafka_broker: KafkaBroker
) -> None:
    await own_kafka_broker.stop()
    supervisor = await start("serve", "supervisor", log=f"kafka://{own_kafka_broker.bootstrap}")
    await until(lambda: supervisor.lines("waiting for the log"), "the waiting")
    await own_kafka_broker.start()
    await until(lambda: (cli.home / "ready" / "supervisor").exists(), "the supervisor to be ready")
    assert len(supervisor.lines("waiting for the log")) == len(supervisor.lines("the log is there")) == 1
    assert supervisor.lines("Unable connect") == []
    assert await supervisor.terminated() == 0


@pytest.mark.parametrize("log", ["kafka://{}", "postgresql://nobody@{}/nothing"])
@pytest.mark.parametrize("server", ["address", "silent"])
async def test_a_service_that_waits_ends_at_once_and_in_order(
    start: Start, log: str, server: str, request: pytest.FixtureRequest
) -> None:
    """Whether nobody is there, or somebody who never says a word."""
    service = await start("serve", "supervisor", log=log.format(request.getfixturevalue(server)))
    await until(lambda: service.lines("waiting for the log"), "the waiting")
    before = asyncio.get_running_loop().time()
    assert await service.terminated() == 0, service.said
    assert asyncio.get_running_loop().time() - before < AT_ONCE_SECONDS
    assert service.lines("Traceback") == []


async def demand_passwords(home: Path, url: str) -> None:
    """Let in nobody named ada without her password."""
    rules = Layout.under(home).data / "pg_hba.conf"
    rules.write_text(f"local all ada scram-sha-256\n{rules.read_text()}")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE ROLE ada LOGIN PASSWORD 'right'")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def test_what_waiting_does_not_mend_ends_with_its_reason(start: Start, home: Path) -> None:
    async with EmbeddedPostgres(home) as server:
        await demand_passwords(home, server.url)
        sound = urlsplit(server.url)
        wrong = urlunsplit(sound._replace(netloc="ada:wrong@"))
        missing = urlunsplit(sound._replace(path="/nowhere"))
        for log, database, exit_code, reason in (
            (wrong, server.url, 1, "password authentication failed"),
            (server.url, wrong, 1, "password authentication failed"),
            (missing, server.url, 1, 'database "nowhere" does not exist'),
            ("postgresql://host:port/log", server.url, 2, "AUTOPACK_LOG"),
            ("kafka://host:99999", server.url, 2, "AUTOPACK_LOG"),
            (server.url, "mysql://host/tables", 2, "AUTOPACK_DATABASE"),
        ):
            service = await start("up", log=log, database=database, listen="127.0.0.1:0")
            assert await service.exit_code() == exit_code, service.said
            assert service.lines(reason), service.said
            assert service.lines("Traceback") == [], "".join(service.said)


async def test_a_command_that_runs_the_services_itself_does_not_wait(cli: CommandLine, address: str) -> None:
    cli.variables = {**cli.variables, "AUTOPACK_LOG": f"kafka://{address}"}
    ended = await cli.run("run", cli.plan(), "--repo", "shop")
    assert ended.exit_code == 3, ended.err
    assert address in ended.err
