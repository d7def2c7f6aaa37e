"""Submitting in groups: what comes while a statement runs is written by the next one, whoever it is from."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from events.catalogue import Topic
from events.log.port import NewRecord, Place
from events.log.postgres.grouping import Group
from events.log.postgres.notifier import Notifier
from events.log.postgres.pushing import Channels, chunks
from events.log.postgres.rows import columns
from events.log.postgres.server import Pool
from events.log.postgres.statements import SUBMIT, SUBMIT_TO_MANY
from events.log.postgres.wakeups import sign_of

RECORD_WEIGHT = 8 * 1024
GROUP_WEIGHT = 4 * 1024 * 1024
"""In bytes, where each record counts for some more than it holds: some 500 small ones are a group."""

Submission = tuple[Place, Sequence[NewRecord]]


class Submitter:
    """Writes records to places, one statement at a time for those that wait for the disk, and one for the others.

    The commit of the others brings them to those who follow. A transaction that notifies holds a lock over the
    whole cluster while it commits, so what waits for the disk is told of by a sign, in a statement of its own.

    A submission is written whole or not at all. One that nobody waits for any more may still be written.
    """

    def __init__(self, durable: Pool, lazy: Pool, notifier: Notifier, channels: Channels) -> None:
        self._notifier = notifier
        self._channels = channels
        self._lazy = Group("submitting", partial(_write, lazy, channels), _weight, GROUP_WEIGHT)
        self._durable = Group("submitting", partial(self._write_and_announce, durable), _weight, GROUP_WEIGHT)

    async def _write_and_announce(self, durable: Pool, submissions: Sequence[Submission]) -> list[int]:
        starts = await _write(durable, None, submissions)
        self._notifier.announce({sign_of(place) for place, _ in submissions})
        return starts

    async def submit_to_all(self, records: Mapping[Place, Sequence[NewRecord]]) -> dict[Place, int]:
        """Write records behind one another in each place; the offset of the first in each.

        Raises LogUnavailable, after which some places may have theirs.
        """
        if len(records) == 1:  # as almost always: no tasks are made
            ((place, own),) = records.items()
            return {place: await self._submit(place, own)}
        starts = await asyncio.gather(*(self._submit(place, own) for place, own in records.items()))
        return dict(zip(records, starts, strict=True))

    async def _submit(self, place: Place, records: Sequence[NewRecord]) -> int:
        group = self._durable if place.topic is Topic.COMMANDS else self._lazy
        return await group.ask((place, records))

    async def close(self) -> None:
        """Write no more. Who still waits is told so, also where the writing had not begun."""
        await self._durable.close()
        await self._lazy.close()


def _weight(submission: Submission) -> int:
    return sum(RECORD_WEIGHT + len(record.value) for record in submission[1])


async def _write(pool: Pool, channels: Channels | None, submissions: Sequence[Submission]) -> list[int]:
    """Where each begins, in the order in which they were given. What is written is told on `channels`, if any."""
    own: dict[Place, list[NewRecord]] = {}
    for place, records in submissions:
        own.setdefault(place, []).extend(records)
    told = [(place, channels.of(place), chunk) for place in own if channels for chunk in chunks(own[place])]
    news = ([c.distance for _, _, c in told], [c.about for _, _, c in told], [c.body for _, _, c in told])
    doing = f"submitting to {', '.join(sorted({place.topic for place in own}))}"
    if len(own) == 1:
        ((place, records),) = own.items()
        channel = channels.of(place) if channels else None
        arguments = (place.topic.value, place.partition, *columns(records), channel, *news)
        behind = {place: (await pool.fetch(doing, SUBMIT, *arguments))[0]["start"]}
    else:
        written = [(*_named(place), record) for place, records in own.items() for record in records]
        rows = await pool.fetch(
            doing,
            SUBMIT_TO_MANY,
            [topic for topic, _, _ in written],
            [partition for _, partition, _ in written],
            *columns([record for _, _, record in written]),
            [place.topic.value for place, _, _ in told],
            [place.partition for place, _, _ in told],
            [channel for _, channel, _ in told],
            *news,
        )
        behind = {Place(Topic(row["topic"]), row["partition"]): row["start"] for row in rows}
    starts = []
    for place, records in submissions:
        starts.append(int(behind[place]))
        behind[place] += len(records)
    return starts


def _named(place: Place) -> tuple[str, int]:
    return place.topic.value, place.partition
