"""A node of Kafka as a process: formatted, started, stopped, killed, paused, with the Java and jars it needs."""

import asyncio
import base64
import contextlib
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from servers.java import BROKER, CLUSTER_ID, FORMATTER, LOG_TAIL_BYTES, format_arguments, launch_kafka, quick_start
from servers.kafka_settings import properties

START_LIMIT_SECONDS = 90.0
STOP_LIMIT_SECONDS = 30.0
KAFKA = "kafka.properties"
IDENTITY = "meta.properties"
_formatted: dict[Path, bytes] = {}
"""The files of a formatted storage, by their paths in it; they say nothing of their node but in its identity."""


class BrokerDidNotStart(Exception):
    """The Kafka broker did not start."""


class KafkaNode:
    """A node in a folder. Stopped or killed and started again, it has its old ports and its old records."""

    def __init__(self, folder: Path, port: int, settings: Mapping[str, object], heap: str) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._settings = settings
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def node_id(self) -> int:
        """By which the others know it."""
        return int(str(self._settings["node.id"]))

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended since."""
        return self._process is not None

    @property
    def process_id(self) -> int:
        """The process of the broker that runs now."""
        return self._running().pid

    async def start(self) -> None:
        """Start the broker and return when it answers. Raises BrokerDidNotStart with the end of its log."""
        await asyncio.to_thread(quick_start)
        await self.format()
        await self._recover()
        self._process = self._launch(BROKER, KAFKA)
        try:
            async with asyncio.timeout(START_LIMIT_SECONDS):
                await self._until_it_answers()
        except TimeoutError:
            self.kill()
            raise BrokerDidNotStart(f"within {START_LIMIT_SECONDS} s:\n{self._log_tail()}") from None

    async def stop(self) -> None:
        """Shut the broker down in order; by force where it takes too long. Harmless when it is down."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the broker with SIGKILL: it gets to write nothing more."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def pause(self) -> None:
        """Stop the broker in its tracks with SIGSTOP: connections stand, and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on."""
        self._running().send_signal(signal.SIGCONT)

    async def _recover(self) -> None:
        """Whatever has to be done before a node that was killed may run again."""

    async def format(self) -> None:
        """Make its storage, where there is none: the first one by Kafka's own program, all others as that one,
        without a process of Java. Raises BrokerDidNotStart.
        """
        storage = self.folder / "log"
        if storage.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_settings(KAFKA, self._settings)
        await asyncio.to_thread(quick_start)
        if not _formatted:
            formatting = self._launch(FORMATTER, *format_arguments(KAFKA))
            if await asyncio.to_thread(formatting.wait) != 0:
                raise BrokerDidNotStart(f"its storage could not be formatted:\n{self._log_tail()}")
            made = [path for path in storage.rglob("*") if path.is_file()]
            _formatted.update({path.relative_to(storage): path.read_bytes() for path in made})
            return
        for path, content in _formatted.items():
            (storage / path).parent.mkdir(parents=True, exist_ok=True)
            (storage / path).write_bytes(content)
        identity = {"version": 1, "cluster.id": CLUSTER_ID, "node.id": self.node_id, "directory.id": _uuid()}
        (storage / IDENTITY).write_text(properties(identity), encoding="utf-8")

    def _write_settings(self, name: str, settings: Mapping[str, object]) -> None:
        (self.folder / name).write_text(properties(settings), encoding="utf-8")

    def _launch(self, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        options = quick_start()
        with self._log.open("ab") as log:
            return launch_kafka(
                main_class, *arguments, folder=self.folder, log=log, heap=self._heap, options=options
            )

    async def _until_it_answers(self) -> None:
        while not (await _listens(self.port) and self.node_id in await brokers_known_to(self.bootstrap)):
            self._check_alive()
            await asyncio.sleep(0.1)

    def _check_alive(self) -> None:
        if self._running().poll() is not None:
            self._process = None
            raise BrokerDidNotStart(f"it ended:\n{self._log_tail()}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the broker is down"
        return self._process

    @property
    def _log(self) -> Path:
        return self.folder / "broker.log"

    def _log_tail(self) -> str:
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


def _uuid() -> str:
    """As Kafka writes one; not beginning with a hyphen."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "0")


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def brokers_known_to(bootstrap: str) -> list[int]:
    """The ids of the brokers that live, as whoever is asked there says; none where nobody says anything."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2_000)
    try:
        await client.start()
        cluster = await client.describe_cluster()
        return [int(broker["node_id"]) for broker in cluster["brokers"]]
    except (KafkaError, OSError, AssertionError):
        return []
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await client.close()
