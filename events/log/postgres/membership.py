"""Membership in a group: a row with a lease for each instance, and partitions shared out by their order."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from events.log.port import LogUnavailable
from events.log.postgres.notifier import Notifier
from events.log.postgres.server import Pool
from events.log.postgres.sessions import Sessions
from events.log.postgres.wakeups import Hub, Sign

LOOKS_A_LEASE = 3
JOIN_AGAIN_SECONDS = 0.5
LONGEST_LEASE_SECONDS = 1800.0
logger = logging.getLogger(__name__)

_JOIN = """
INSERT INTO autopack_log.members (group_name, instance, lease_until)
VALUES ($1, $1 || '-' || gen_random_uuid(), clock_timestamp() + make_interval(secs => $2))
RETURNING instance
"""
# Everybody, as they stood before; nobody, where oneself was expelled.
_RENEW = """
WITH renewed AS (
    UPDATE autopack_log.members SET lease_until = clock_timestamp() + make_interval(secs => $3)
    WHERE group_name = $1 AND instance = $2
    RETURNING instance)
SELECT member.instance, member.lease_until
FROM autopack_log.members AS member, renewed
WHERE member.group_name = $1
ORDER BY member.joined
"""
# Whoever has renewed its lease in the meantime has another one, and stays. A lease that has not lapsed stands, but
# for one that ends later than any may: there the server's clock was set back.
_EXPEL = """
DELETE FROM autopack_log.members
WHERE group_name = $1 AND instance IN (
    SELECT member.instance
    FROM autopack_log.members AS member
        JOIN unnest($2::text[], $3::timestamptz[]) AS silent (instance, lease_until) USING (instance, lease_until)
    WHERE member.group_name = $1
        AND NOT member.lease_until BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => $4)
    FOR UPDATE OF member SKIP LOCKED)
RETURNING instance
"""
_MEMBERS = "SELECT instance, lease_until FROM autopack_log.members WHERE group_name = $1 ORDER BY joined"
_LEAVE = "DELETE FROM autopack_log.members WHERE group_name = $1 AND instance = $2"
_COMMITTED = "SELECT next_offset FROM autopack_log.group_offsets WHERE group_name = $1 AND partition = $2"
_COMMIT = """
INSERT INTO autopack_log.group_offsets AS known (group_name, partition, next_offset) VALUES ($1, $2, $3)
ON CONFLICT (group_name, partition) DO UPDATE SET next_offset = greatest(known.next_offset, excluded.next_offset)
"""


@dataclass(frozen=True, slots=True)
class GroupMeans:
    """What memberships of one log share."""

    durable: Pool
    lazy: Pool
    notifier: Notifier
    sessions: Sessions
    hub: Hub
    partition_count: int
    lease_seconds: float


class SignsOfLife:
    """When each of the others was last seen to have given one: a lease that is another than before."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[datetime, float]] = {}

    def silent(self, leases: Mapping[str, datetime], now: float, seconds: float) -> Mapping[str, datetime]:
        """Of these, as they stand now, whoever has given none for so long."""
        known = self._seen
        self._seen = {
            instance: known[instance] if instance in known and known[instance][0] == lease else (lease, now)
            for instance, lease in leases.items()
        }
        return {instance: lease for instance, (lease, at) in self._seen.items() if now - at >= seconds}

    def begin_anew(self, now: float) -> None:
        """We were away ourselves, and have not seen who gave one meanwhile."""
        self._seen = {instance: (lease, now) for instance, (lease, _) in self._seen.items()}


class PostgresMembership:
    """One instance in a group, renewed in the background three times a lease.

    The i-th of n members, in the order of their joining, owns the partitions whose number leaves i modulo n:
    everybody computes the same from the same rows. A member whose lease has lapsed lives until another expels it,
    which has seen no sign of it for the length of a lease by its own machine's clock: the server's may jump. Only
    time in which its own lease stood counts, and it begins anew where that has lapsed: after an outage of the
    server everybody has time to renew. One that is late again and again counts a part of a lease each time, for
    else nobody who is gone would be given up where all are slow.

    A member that finds itself expelled owns nothing any more, `living` does not name it, and `instance`
    stays as it was. It joins again, under a new id, when `changed` is called with no partitions known: by
    then its owner has been told of the loss. An owner that never calls `changed` is told by `is_expelled`, and has
    to leave and to join anew.
    """

    def __init__(self, means: GroupMeans, group: str) -> None:
        self._means = means
        self._group = group
        self._instance = ""
        self._partitions: frozenset[int] = frozenset()
        self._is_expelled = False
        self._news = asyncio.Event()
        self._sign = Sign(f"group.{group}")
        self._sleeper = means.hub.sleeper()
        self._sleeper.heed(self._sign)
        self._renewed_at = 0.0
        self._watched_seconds = 0.0
        self._was_late = False
        self._signs = SignsOfLife()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def instance(self) -> str:
        """The id of this instance in the group; the database makes it."""
        return self._instance

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that are this instance's own at the moment."""
        return self._partitions

    @property
    def is_expelled(self) -> bool:
        """Whether the group has given this instance up."""
        return self._is_expelled

    async def join(self) -> None:
        """Become a member, and know the first share. Raises LogUnavailable."""
        await self._enter()
        self._keeping = asyncio.create_task(self._keep())

    async def changed(self, known: frozenset[int]) -> frozenset[int]:
        """Wait until the own partitions differ from `known`, and return them."""
        while self._partitions == known:
            if self._is_expelled:
                await self._enter_again()
            else:
                self._news.clear()
                await self._news.wait()
        return self._partitions

    async def living(self) -> frozenset[str]:
        """The instances of the group that live: that have joined, and were not expelled. LogUnavailable."""
        rows = await self._means.lazy.fetch(f"asking who lives in {self._group}", _MEMBERS, self._group)
        return frozenset(row["instance"] for row in rows)

    async def committed(self, partition: int) -> int | None:
        """The history offset up to which the group needs to read no more. Raises LogUnavailable."""
        doing = f"asking what {self._group} has committed"
        rows = await self._means.lazy.fetch(doing, _COMMITTED, self._group, partition)
        return rows[0]["next_offset"] if rows else None

    async def commit(self, partition: int, offset: int) -> None:
        """Commit such an offset; a lower one than before changes nothing. Raises LogUnavailable."""
        await self._means.lazy.fetch(f"committing for {self._group}", _COMMIT, self._group, partition, offset)

    async def leave(self) -> None:
        """Leave the group at once. Where the server cannot be told, the lease runs out by itself."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        self._keeping = None
        self._own(frozenset())
        with suppress(LogUnavailable):
            await self._means.durable.fetch(f"leaving {self._group}", _LEAVE, self._group, self._instance)
            self._announce()

    async def _enter(self) -> None:
        doing, lease_seconds = f"joining {self._group}", self._means.lease_seconds
        await self._listen()
        (row,) = await self._means.durable.fetch(doing, _JOIN, self._group, lease_seconds)
        self._instance = row["instance"]
        self._is_expelled = False
        self._signs, self._was_late = SignsOfLife(), False
        self._renewed_at = _now()
        rows = await self._means.lazy.fetch(f"sharing out {self._group}", _MEMBERS, self._group)
        self._share([*_leases(rows)])
        self._announce()

    async def _enter_again(self) -> None:
        try:
            await self._enter()
        except LogUnavailable as error:
            logger.warning("%s", error)
            await asyncio.sleep(JOIN_AGAIN_SECONDS)

    async def _keep(self) -> None:
        while True:
            await self._sleeper.sleep_until(_now() + self._means.lease_seconds / LOOKS_A_LEASE)
            self._sleeper.take()
            if self._is_expelled:
                continue
            try:
                await self._look()
            except LogUnavailable as error:
                logger.warning("%s", error)
            except Exception:  # a fault of ours or of the driver: it must not end the signs of life
                logger.exception("looking after %s failed", self._group)

    async def _look(self) -> None:
        """Renew, expel, and see who is left."""
        doing, lease_seconds = f"staying in {self._group}", self._means.lease_seconds
        began = _now()
        leases = _leases(await self._means.lazy.fetch(doing, _RENEW, self._group, self._instance, lease_seconds))
        if self._instance not in leases:
            return self._expelled()
        self._watch(began)
        expelled = await self._expel_the_silent(leases)
        self._share([instance for instance in leases if instance not in expelled])
        await self._listen()
        return None

    def _watch(self, began: float) -> None:
        """Count the time since the renewal before, if our lease stood from there on."""
        lease_seconds, was_late = self._means.lease_seconds, self._was_late
        self._was_late = _now() - self._renewed_at >= lease_seconds
        if not self._was_late:
            self._watched_seconds += began - self._renewed_at
        elif was_late:
            self._watched_seconds += lease_seconds / LOOKS_A_LEASE
        else:
            self._signs.begin_anew(self._watched_seconds)
        self._renewed_at = began

    async def _expel_the_silent(self, leases: Mapping[str, datetime]) -> frozenset[str]:
        """Who of those read just now has been silent, and was expelled for it."""
        others = {instance: lease for instance, lease in leases.items() if instance != self._instance}
        silent = self._signs.silent(others, self._watched_seconds, self._means.lease_seconds)
        if not silent:
            return frozenset()
        asked = (self._group, [*silent], [*silent.values()], LONGEST_LEASE_SECONDS)
        rows = await self._means.lazy.fetch(f"looking after {self._group}", _EXPEL, *asked)
        if rows:
            self._announce()
        return frozenset(row["instance"] for row in rows)

    async def _listen(self) -> None:
        """Be told of those who come and go."""
        session = await self._means.sessions.current()
        await session.listen(self._sign.channel)

    def _share(self, members: Sequence[str]) -> None:
        """Take the own share of what these, in the order of their joining, share out."""
        if self._instance not in members:
            return self._expelled()
        own = members.index(self._instance)
        partitions = range(self._means.partition_count)
        return self._own(frozenset(p for p in partitions if p % len(members) == own))

    def _expelled(self) -> None:
        logger.warning("%s has been expelled from %s", self._instance, self._group)
        self._is_expelled = True
        self._own(frozenset())
        self._news.set()

    def _own(self, partitions: frozenset[int]) -> None:
        if partitions != self._partitions:
            self._partitions = partitions
            self._news.set()

    def _announce(self) -> None:
        self._means.notifier.announce([self._sign])


def _leases(rows: Sequence[asyncpg.Record]) -> dict[str, datetime]:
    """Until when each member's lease stands, in the order of their joining."""
    return {row["instance"]: row["lease_until"] for row in rows}


def _now() -> float:
    return asyncio.get_running_loop().time()
