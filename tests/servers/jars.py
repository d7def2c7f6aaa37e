"""The jars of Kafka: fetched once by their Maven coordinates, and checked against the digests kept here."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jgo

COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.4.0",
    # So that the broker's log says why, when it fails. Fetched apart: together, other versions come out.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5",
)
DIGESTS = Path(__file__).with_name("kafka-jars.sha256")


class JarsDiffer(Exception):
    """The fetched jars are not the ones whose digests are kept in the repository."""


@cache
def kafka_jars() -> str:
    """Return the class path of Kafka. The first call on a machine fetches about 45 MB."""
    with _one_at_a_time():
        environments = [jgo.build(coordinates) for coordinates in COORDINATES]
    places = [place for found in environments for place in (found.jars_dir, found.modules_dir)]
    folders = [place for place in places if place.is_dir()]
    check(folders, DIGESTS.read_text(encoding="utf-8"))
    return ":".join(f"{folder}/*" for folder in folders)


def check(folders: list[Path], expected: str) -> None:
    """Raise JarsDiffer unless the folders hold just the jars that are expected, lines as of `sha256sum`."""
    found = {line for folder in folders for line in map(_line, folder.glob("*.jar"))}
    different = sorted(line.split()[1] for line in found ^ set(expected.splitlines()))
    if different:
        raise JarsDiffer(f"{JarsDiffer.__doc__} {', '.join(dict.fromkeys(different))}")


def _line(jar: Path) -> str:
    return f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep other processes from fetching the same files meanwhile."""
    folder = Path.home() / ".cache" / "autopack"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "kafka-jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
