"""What every test may ask for: real servers, started when first asked for, once a session."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from servers.kafka import KafkaBroker
from servers.leftovers import processes_left
from servers.postgres import PostgresServer
from services.sandbox import remove_folder

LONGEST_FIRST = ("faults", "simulation", "e2e", "contract", "integration")
PATIENCE_SECONDS = 15.0
"""Servers that have been told to stop may need a moment."""
SKIPS_ARE_FAILURES = os.environ.get("AUTOPACK_TEST_REQUIRE") == "all"


def pytest_configure() -> None:
    """Log as services do, without drawn tracebacks: they take the loop of a test half a second each. And let no
    example of a property have to be quick: how long it takes is the machine's affair.
    """
    settings.register_profile("any machine", deadline=None)
    settings.load_profile("any machine")
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in the test's own process says where logs go, and that stream ends with the test."""
    configuration, level, handlers = structlog.get_config(), logging.root.level, logging.root.handlers[:]
    yield
    structlog.configure(**configuration)
    logging.root.setLevel(level)
    for handler in set(logging.root.handlers) - set(handlers):
        logging.root.removeHandler(handler)


@pytest.fixture(scope="session")
def session_runner() -> Iterator[asyncio.Runner]:
    """A loop for what lives as long as the session. It never becomes the loop of a test."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="session")
def postgres_server(
    session_runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[PostgresServer]:
    """The session's Postgres, one for all workers; for tests that kill theirs there is EmbeddedPostgres."""
    base = tmp_path_factory.getbasetemp()
    server = PostgresServer((base if worker_id == "master" else base.parent) / "shared-postgres")
    session_runner.run(server.start())
    yield server
    session_runner.run(server.stop())


@pytest.fixture
async def database_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The address of an empty database that is this test's own."""
    async with postgres_server.fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def kafka_broker(
    session_runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaBroker]:
    """The worker's Kafka, shared by its tests: each uses topics and groups of its own, and none stops it."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    session_runner.run(broker.start())
    yield broker
    session_runner.run(broker.stop())


@pytest.fixture
async def own_kafka_broker(tmp_path: Path) -> AsyncIterator[KafkaBroker]:
    """A running broker that is this test's own, to be stopped, killed or paused."""
    broker = KafkaBroker(tmp_path / "kafka")
    try:
        await broker.start()
        yield broker
    finally:
        await broker.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Fail what was skipped, where nothing may be."""
    report = yield
    return _judged(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    """Fail a module that was skipped as a whole, where nothing may be."""
    report = yield
    return _judged(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave nothing behind: no process, and the folders of a session only where a failure has to be understood."""
    config = session.config
    is_worker, is_placed = hasattr(config, "workerinput"), config.option.basetemp is not None
    folder = config._tmp_path_factory._basetemp  # the public way would make one, and tidy up behind older sessions
    if exitstatus != pytest.ExitCode.OK or is_worker or is_placed or folder is None:
        return
    if left := processes_left(folder, PATIENCE_SECONDS):
        print("\nprocesses are left behind:", *left, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return
    try:
        remove_folder(folder)
    except OSError as error:
        print(f"\n{folder} is left behind: {error}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker waits for another at the end."""
    items.sort(key=lambda item: next((i for i, level in enumerate(LONGEST_FIRST) if level in item.path.parts), 9))


def _judged(report: pytest.TestReport | pytest.CollectReport) -> pytest.TestReport | pytest.CollectReport:
    if SKIPS_ARE_FAILURES and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"AUTOPACK_TEST_REQUIRE=all makes a skip a failure: {reason}"
    return report
