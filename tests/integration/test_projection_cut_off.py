"""Somebody has deleted events: who would have read them stands still there, and everybody else goes on."""

from collections.abc import AsyncIterator, Mapping

import pytest

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import Place
from projections.database import Pool
from projections.lane import Lane
from projections.projector import Projector
from projections.status import Standing
from support.histories import ListLog, ListMembership, failure, recorded, success
from support.projecting import Heard, at, is_alarmed, is_ready, passed, running, status, until
from support.tables import EVENTS, HISTORY_READERS, tables_at_zero

LOST = Place(Topic.EVENTS, home_partition("shop", 2))
ELSEWHERE = next(name for name in map(str, range(99)) if home_partition(name, 2) != LOST.partition)


class JoinedLog(ListLog):
    """Counts how often somebody has joined."""

    joined = 0

    async def join(self, group: str) -> ListMembership:
        self.joined += 1
        return await super().join(group)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with tables_at_zero(database_url) as pool:
        yield pool


async def offsets(pool: Pool, name: str) -> Mapping[int, int]:
    """Where a projection stands in the history, by partition."""
    query = (
        "SELECT partition, next_offset FROM projection_checkpoints"
        " WHERE projection = $1 AND topic = 'autopack.events'"
    )
    return {row["partition"]: row["next_offset"] for row in await pool.fetch(query, name)}


async def test_history_that_was_deleted_stops_its_partition_and_no_other(pool: Pool) -> None:
    log, heard, here, there = JoinedLog(2), Heard(), recorded(success()), recorded(success(), "run-2", ELSEWHERE)
    log.write([*here, *there[:5]])

    async def is_at(elsewhere: int) -> bool:
        wanted = {LOST.partition: len(here), 1 - LOST.partition: elsewhere}
        return all([await offsets(pool, reader.name) == wanted for reader in HISTORY_READERS])

    async with running(projector := Projector(pool, log, heard)):
        await until(lambda: is_at(5))
        log.first[LOST] = len(here) + 1
        log.write([recorded(failure(), "run-3")[0], *there[5:]])
        await until(lambda: is_at(len(there)))
        told = {f"{reader.table} {LOST.topic}/{LOST.partition}" for reader in HISTORY_READERS}
        assert heard.hindrances.keys() == heard.alarms.keys() == told
        why = f"no longer holds. Partition {LOST.partition}, offset {len(here)}; the first that is left is "
        assert all(why in message for message in heard.hindrances.values())
        assert LOST not in projector.read_to()
    assert (log.joined, heard.troubles) == (1, [])
    stopped = [one for one in (await status(pool, log)).projections if one.standing is Standing.STOPPED]
    assert {(one.topic, one.partition) for one in stopped} == {(LOST.topic, LOST.partition)}


async def test_a_projection_that_is_behind_what_was_deleted_stands_still_alone(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.projector.LOOK_AGAIN_SECONDS", 0.2)
    log, heard, history = JoinedLog(), Heard(), recorded(success())
    log.write(history)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    await pool.execute("DELETE FROM projection_checkpoints WHERE projection = 'tiers'")
    log.first[EVENTS] = 3
    async with running(Projector(pool, log, heard)):
        await until(lambda: is_alarmed(heard, "tiers_v1 autopack.events/0"))
        assert "offset 0; the first that is left is 3" in heard.hindrances["tiers_v1 autopack.events/0"]
        log.write(recorded(success(), "later"))
        await until(lambda: passed(pool, "runs", len(log.records[EVENTS])))
        await until(lambda: is_ready(heard))
        assert list(heard.alarms) == list(heard.hindrances) == ["tiers_v1 autopack.events/0"]
    assert (log.joined, heard.troubles) == (1, [])
    tiers = at(await status(pool, log), "tiers")
    assert (tiers.standing, tiers.next_offset) == (Standing.STOPPED, 0)


async def test_who_catches_up_with_those_that_stand_still_stands_still_with_them(pool: Pool) -> None:
    log, heard, history = JoinedLog(), Heard(), recorded(success())
    log.write(history)
    await Lane(pool, EVENTS, 0, HISTORY_READERS).take(log.records[EVENTS])
    await pool.execute("DELETE FROM tiers_v1")
    await pool.execute("DELETE FROM projection_checkpoints WHERE projection = 'tiers'")
    log.first[EVENTS] = len(history) + 1
    read = log.read

    async def reading(place: Place, start: int, end: int | None = None) -> object:
        """What lies before the end is still there; of the end itself the tail knows at once that it is not."""
        if end is None:
            return await read(place, start, end)
        await until(lambda: is_alarmed(heard, "runs_v2 autopack.events/0"))
        return [record for record in log.records[place] if start <= record.offset < end]

    log.read = reading
    async with running(Projector(pool, log, heard)):
        log.write(recorded(failure(), "later")[:1])
        await until(lambda: is_alarmed(heard, "tiers_v1 autopack.events/0"))
    assert at(await status(pool, log), "tiers").next_offset == len(history)
