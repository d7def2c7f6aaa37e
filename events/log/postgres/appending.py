"""Appending in groups: the steps of several partitions go into one statement, each under its own epoch.

Its commit brings those who follow what was written. A transaction that notifies holds a lock over the whole
cluster while it commits. That is no matter here: the steps of all partitions of a process are one commit a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from events.catalogue import Topic
from events.log.port import LogUnavailable, NewRecord, Place, Positions
from events.log.postgres.grouping import Group
from events.log.postgres.pushing import Channels, chunks
from events.log.postgres.rows import columns
from events.log.postgres.server import LOST, Pool
from events.log.postgres.statements import APPEND_EVENTS, APPEND_EVENTS_OF_MANY

GROUP_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Appending:
    """The events of one step, and up to where it has read, by the writer of this epoch.

    `losses` is how many connections the log had lost when that writer began.
    """

    partition: int
    epoch: int
    losses: int
    events: Sequence[NewRecord]
    positions: Positions


class Appender:
    """Appends what the writers of one log have to append at the same time, as one transaction.

    A step of a writer that was fenced is left out, and so is one whose positions lie behind the ends of what it
    says it has read; the others are written.
    """

    def __init__(self, durable: Pool, lease_seconds: float, channels: Channels) -> None:
        self._durable = durable
        self._channels = channels
        self._lease_seconds = lease_seconds
        self._group = Group("appending", self._carry, _size_bytes, GROUP_BYTES)

    async def append(self, appending: Appending) -> Sequence[asyncpg.Record]:
        """The end of the history in a row; no row where the writer was fenced. Raises LogUnavailable."""
        return await self._group.ask(appending)

    async def close(self) -> None:
        """Append no more."""
        await self._group.close()

    async def _carry(self, asked: Sequence[Appending]) -> list[Sequence[asyncpg.Record] | Exception]:
        losses = self._durable.losses
        sound = {one.partition: one for one in reversed(asked) if one.losses == losses}
        found = await self._append(list(sound.values()), losses) if sound else {}
        outcomes: list[Sequence[asyncpg.Record] | Exception] = []
        for one in asked:
            if one.losses != losses:
                outcomes.append(LogUnavailable(f"{_doing([one])}: {LOST}"))
            elif sound[one.partition] is one:
                outcomes.append(found[one.partition])
            else:  # of two writers of one partition in this process, one is behind the other
                outcomes.append((await self._append([one], losses))[one.partition])
        return outcomes

    async def _append(self, steps: Sequence[Appending], losses: int) -> dict[int, Sequence[asyncpg.Record]]:
        """Of each partition the row that stands for it, if there is one."""
        if len(steps) == 1:
            (one,) = steps
            head = (one.partition, one.epoch, self._lease_seconds)
            passed = (one.positions.commands, one.positions.results)
            told = self._told([one])
            arguments: tuple[object, ...] = (*head, *columns(one.events), *passed, self._channel(one), *told[2:])
            rows = await self._durable.fetch(_doing(steps), APPEND_EVENTS, *arguments, losses=losses)
            return {one.partition: rows}
        arguments = (
            [one.partition for one in steps],
            [one.epoch for one in steps],
            [one.positions.commands for one in steps],
            [one.positions.results for one in steps],
            self._lease_seconds,
            [one.partition for one in steps for _ in one.events],
            *columns([event for one in steps for event in one.events]),
            *self._told(steps),
        )
        rows = await self._durable.fetch(_doing(steps), APPEND_EVENTS_OF_MANY, *arguments, losses=losses)
        return {one.partition: [row for row in rows if row["partition"] == one.partition] for one in steps}

    def _channel(self, one: Appending) -> str:
        return self._channels.of(Place(Topic.EVENTS, one.partition))

    def _told(self, steps: Sequence[Appending]) -> tuple[list[int], list[str], list[int], list[str], list[str]]:
        """What those who follow are brought: partitions and channels, then the chunks by their columns."""
        told = [(one, chunk) for one in steps for chunk in chunks(one.events, tells_types=True)]
        return (
            [one.partition for one, _ in told],
            [self._channel(one) for one, _ in told],
            [chunk.distance for _, chunk in told],
            [chunk.about for _, chunk in told],
            [chunk.body for _, chunk in told],
        )


def _doing(steps: Sequence[Appending]) -> str:
    partitions = sorted(one.partition for one in steps)
    if len(partitions) == 1:
        return f"writing to partition {partitions[0]}"
    return f"writing to partitions {', '.join(map(str, partitions))}"


def _size_bytes(appending: Appending) -> int:
    return sum(len(event.value) for event in appending.events)
