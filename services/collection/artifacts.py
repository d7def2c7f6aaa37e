"""Which artifacts may go: those that no run needs that goes on, or ended within the retention.

A store is collected by whoever holds the tables of its log, on however many machines at once: a file that was
written within the grace is nobody's to remove, and whoever needs a blob that was written earlier writes it again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import time

import orjson

from events.catalogue import Topic
from events.log.port import EventLog, Place
from projections.checkpoints import RunKey
from projections.database import Pool, lent
from projections.queries.retention import LIMIT_SECONDS, check_abreast, ended_runs, needed_digests
from services.artifacts import DAY_SECONDS, GRACE_SECONDS, RELIED_ON_SECONDS, FileArtifacts, KeptBlob
from services.runner.results import RESULTS

LOG_OF_STORE = "collection/log"
_DIGEST_IN_BYTES = 64


class StoreOfAnotherLog(Exception):
    """The artifact store holds what belongs to another log, and nothing is collected from it"""


@dataclass(frozen=True, slots=True)
class ArtifactsCollected:
    """What went, or would: blobs with their size, and answers that workers had kept."""

    blobs: int = 0
    size_bytes: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class _Result:
    """An answer that a worker kept: of which run, how old, and its bytes."""

    name: str
    run: RunKey
    age_seconds: float
    data: bytes


async def collect_artifacts(
    store: FileArtifacts, log: EventLog, pool: Pool, kept_days: float, *, dry_run: bool = False
) -> ArtifactsCollected:
    """Remove what no run needs. Raises TablesBehind, StoreOfAnotherLog, LogUnavailable, TimeoutError."""
    await check_store(store, log)
    blobs = await store.blobs()
    results = await _aged_results(store)
    ends = await log.ends(Topic.EVENTS)
    async with lent(pool, LIMIT_SECONDS) as connection:
        await check_abreast(connection, ends)
        ended = await ended_runs(connection, (result.run for result in results))
        needed = await needed_digests(connection, kept_days * DAY_SECONDS)
    needed |= {digest for result in results if result.run not in ended for digest in _digests(result.data)}
    going = await _superfluous(store, blobs, needed)
    answered = [result.name for result in results if result.run in ended and result.age_seconds > GRACE_SECONDS]
    if not dry_run:
        going = [blob for blob in going if await store.drop(blob)]
        for name in answered:
            await store.delete(name)
        await store.clear_incoming(time() - GRACE_SECONDS)
    return ArtifactsCollected(len(going), sum(blob.size_bytes for blob in going), len(answered))


async def check_store(store: FileArtifacts, log: EventLog) -> None:
    """Raise StoreOfAnotherLog where the store was collected before for a log with another history.

    A log is known by the first records of its partitions, which stay the same for ever, wherever it is moved.
    """
    firsts = await _first_records(log)
    kept = await store.read(LOG_OF_STORE)
    known = set(orjson.loads(kept)) if kept else set()
    if known and firsts and not known & firsts:
        reason = f"where its artifacts are not needed, remove {LOG_OF_STORE} from the store"
        raise StoreOfAnotherLog(f"{StoreOfAnotherLog.__doc__}: {reason}")
    if firsts - known:
        await store.replace(LOG_OF_STORE, orjson.dumps(sorted(known | firsts)))


async def _first_records(log: EventLog) -> set[str]:
    found = set()
    for partition, end in sorted((await log.ends(Topic.EVENTS)).items()):
        for record in await log.read(Place(Topic.EVENTS, partition), 0, min(end, 1)):
            found.add(sha256(record.value).hexdigest())
    return found


async def _aged_results(store: FileArtifacts) -> list[_Result]:
    """Kept answers, but for new ones: all that these speak of is newer than the grace."""
    found = []
    now = time()
    for kept in await store.ages(f"{RESULTS}/"):
        data = await store.read(kept.name) if now - kept.modified > RELIED_ON_SECONDS else None
        if data is not None and (run := _run_of(data)) is not None:
            found.append(_Result(kept.name, run, now - kept.modified, data))
    return found


def _run_of(data: bytes) -> RunKey | None:
    try:
        envelope = orjson.loads(data.partition(b"\n")[2])
        return str(envelope["project"]), str(envelope["runid"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _digests(data: bytes) -> Iterable[str]:
    parts = data.split(b"sha256:")[1:]
    return (f"sha256:{part[:_DIGEST_IN_BYTES].decode('ascii', 'replace')}" for part in parts)


async def _superfluous(store: FileArtifacts, blobs: Sequence[KeptBlob], needed: set[str]) -> list[KeptBlob]:
    """All files of what is not needed, and all but the newest whole one of what is; none that is new."""
    before = time() - GRACE_SECONDS
    by_digest: dict[str, list[KeptBlob]] = defaultdict(list)
    for blob in blobs:
        by_digest[blob.digest].append(blob)
    going: list[KeptBlob] = []
    for digest, files in by_digest.items():
        spare = files if digest not in needed else await _spare(store, files)
        going += [blob for blob in spare if blob.modified < before]
    return going


async def _spare(store: FileArtifacts, files: list[KeptBlob]) -> list[KeptBlob]:
    if len(files) == 1:
        return []
    newest = max(files, key=lambda blob: blob.modified)
    return [blob for blob in files if blob is not newest] if await store.is_whole(newest) else []
