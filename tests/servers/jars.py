"""The jars of Kafka: fetched once by their Maven coordinates, and checked against the digests kept here."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.4.0",
    # So that the broker's log says why, when it fails. Fetched apart: together, other versions come out.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5",
)
DIGESTS = Path(__file__).with_name("kafka-jars.sha256")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "autopack"


class JarsDiffer(Exception):
    """The fetched jars are not the ones whose digests are kept in the repository."""


@cache
def kafka_jars() -> Path:
    """Return the folder with the jars of Kafka. The first call on a machine fetches about 45 MB."""
    expected = DIGESTS.read_text(encoding="utf-8")
    folder = CACHE / f"kafka-{hashlib.sha256(expected.encode()).hexdigest()[:16]}"
    with one_at_a_time():
        if not folder.exists():
            _fill(folder, expected)
    check(folder, expected)
    return folder


def check(folder: Path, expected: str) -> None:
    """Raise JarsDiffer unless the folder holds just the jars that are expected, lines as of `sha256sum`."""
    found = {f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}" for jar in folder.glob("*.jar")}
    different = sorted({line.split()[1] for line in found ^ set(expected.splitlines())})
    if different:
        raise JarsDiffer(f"{JarsDiffer.__doc__} {', '.join(different)}")


def _fill(folder: Path, expected: str) -> None:
    """Fetch the jars into a folder of ours: the one of jgo is made anew by whoever asks for it next."""
    import jgo  # here, for it is heavy, and needed but once on a machine

    with tempfile.TemporaryDirectory(dir=CACHE) as place:
        unfinished = Path(place) / "jars"
        unfinished.mkdir()
        for environment in map(jgo.build, COORDINATES):
            for jar in environment.all_jars:
                shutil.copy(jar, unfinished)
        check(unfinished, expected)
        unfinished.rename(folder)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other processes from making the same files meanwhile."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "kafka-jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
