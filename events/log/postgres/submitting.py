"""Submitting in groups: what comes while a statement runs is written by the next one, whoever it is from."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from events.catalogue import Topic
from events.log.port import NewRecord, Place
from events.log.postgres.grouping import Group
from events.log.postgres.notifier import Notifier
from events.log.postgres.rows import columns
from events.log.postgres.server import Pool
from events.log.postgres.statements import SUBMIT, SUBMIT_TO_MANY
from events.log.postgres.wakeups import CHANNELS, Hub, Sign, sign_of

RECORD_WEIGHT = 8 * 1024
GROUP_WEIGHT = 4 * 1024 * 1024
"""In bytes, where each record counts for some more than it holds: some 500 small ones are a group."""

Submission = tuple[Place, Sequence[NewRecord]]


class Submitter:
    """Writes records to places, one statement at a time for those that wait for the disk, and one for the others.

    The others tell whoever waits with their own commit, which saves a statement each.

    A submission is written whole or not at all. One that nobody waits for any more may still be written.
    """

    def __init__(self, durable: Pool, lazy: Pool, notifier: Notifier, hub: Hub) -> None:
        self._durable = _group(durable, None, notifier.announce)
        self._lazy = _group(lazy, CHANNELS, hub.announce)

    async def submit_to_all(self, records: Mapping[Place, Sequence[NewRecord]]) -> dict[Place, int]:
        """Write records behind one another in each place; the offset of the first in each.

        Raises LogUnavailable, after which some places may have theirs.
        """
        starts = await asyncio.gather(*(self._submit(place, own) for place, own in records.items()))
        return dict(zip(records, starts, strict=True))

    async def _submit(self, place: Place, records: Sequence[NewRecord]) -> int:
        group = self._durable if place.topic is Topic.COMMANDS else self._lazy
        return await group.ask((place, records))

    async def close(self) -> None:
        """Write no more. Who still waits is told so, also where the writing had not begun."""
        await self._durable.close()
        await self._lazy.close()


def _group(
    pool: Pool, channels: str | None, announce: Callable[[Collection[Sign]], None]
) -> Group[Submission, int]:
    async def write(submissions: Sequence[Submission]) -> list[int]:
        starts = await _write(pool, submissions, channels)
        announce({sign_of(place) for place, _ in submissions})
        return starts

    return Group("submitting", write, _weight, GROUP_WEIGHT)


def _weight(submission: Submission) -> int:
    return sum(RECORD_WEIGHT + len(record.value) for record in submission[1])


async def _write(pool: Pool, submissions: Sequence[Submission], channels: str | None) -> list[int]:
    """Where each begins, in the order in which they were given. Notifies on `channels`, if there are any."""
    places = {place for place, _ in submissions}
    records = [record for _, own in submissions for record in own]
    doing = f"submitting to {', '.join(sorted({place.topic for place in places}))}"
    if len(places) == 1:
        (place,) = places
        channel = None if channels is None else channels + sign_of(place).channel
        rows = await pool.fetch(doing, SUBMIT, place.topic.value, place.partition, *columns(records), channel)
        behind = {place: rows[0]["start"]}
    else:
        homes = [place for place, own in submissions for _ in own]
        topics, partitions = [home.topic.value for home in homes], [home.partition for home in homes]
        rows = await pool.fetch(doing, SUBMIT_TO_MANY, topics, partitions, *columns(records), channels)
        behind = {Place(Topic(row["topic"]), row["partition"]): row["start"] for row in rows}
    starts = []
    for place, own in submissions:
        starts.append(int(behind[place]))
        behind[place] += len(own)
    return starts
