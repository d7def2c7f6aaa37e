"""Groups: every partition belongs to one living member, and passes on when that one goes."""

import asyncio
import signal
from collections.abc import Sequence

from contract.ground import Child, Ground, OpenLog
from contract.waiting import until

from events.log.port import EventLog, Membership

GROUP = "workers"


async def until_shared_out(log: EventLog, members: Sequence[Membership]) -> None:
    """Wait until every partition belongs to one member, and every member has its share."""

    async def is_shared_out() -> bool:
        shares = [member.partitions for member in members]
        every = sorted(partition for share in shares for partition in share)
        sizes = [len(share) for share in shares]
        return every == list(range(log.partition_count)) and max(sizes) - min(sizes) <= 1

    await until(is_shared_out, f"every partition with one of {len(members)} members")


async def test_a_member_that_is_alone_owns_everything(log: EventLog) -> None:
    await until_shared_out(log, [await log.join(GROUP)])


async def test_two_members_share_the_partitions_out(open_log: OpenLog) -> None:
    logs = [await open_log(), await open_log()]
    await until_shared_out(logs[0], [await log.join(GROUP) for log in logs])


async def test_members_may_share_one_opening_of_the_log(log: EventLog) -> None:
    await until_shared_out(log, [await log.join(GROUP) for _ in range(2)])


async def test_a_member_that_leaves_hands_its_partitions_over(open_log: OpenLog) -> None:
    logs = [await open_log(), await open_log()]
    first, second = [await log.join(GROUP) for log in logs]
    await until_shared_out(logs[0], [first, second])
    await first.leave()
    assert first.partitions == frozenset()
    await until_shared_out(logs[1], [second])


async def test_a_member_is_told_when_its_partitions_change(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    first = await log.join(GROUP)
    known: frozenset[int] = frozenset()
    every = frozenset(range(log.partition_count))
    async with asyncio.timeout(45):
        while known != every:
            known = await first.changed(known)
        waiting = asyncio.create_task(first.changed(known))
        await other.join(GROUP)
        assert await waiting < every


async def test_groups_share_out_the_partitions_each_by_itself(log: EventLog) -> None:
    workers, auditors = await log.join(GROUP), await log.join("auditors")
    await until_shared_out(log, [workers])
    await until_shared_out(log, [auditors])
    assert auditors.instance not in await workers.living()


async def test_the_living_are_those_who_have_joined_and_not_left(open_log: OpenLog) -> None:
    first, second = await (await open_log()).join(GROUP), await (await open_log()).join(GROUP)
    assert first.instance != second.instance
    both = {first.instance, second.instance}

    async def both_live() -> bool:
        return await first.living() == both == await second.living()

    async def second_is_gone() -> bool:
        return await first.living() == {first.instance}

    await until(both_live, "two who live")
    await second.leave()
    await until(second_is_gone, "one who lives")


async def test_what_was_committed_comes_back_to_the_next_owner(open_log: OpenLog) -> None:
    log, other = await open_log(), await open_log()
    first = await log.join(GROUP)
    await until_shared_out(log, [first])
    assert await first.committed(1) is None
    await first.commit(1, 17)
    await first.commit(1, 42)
    await first.leave()
    heir = await other.join(GROUP)
    await until_shared_out(other, [heir])
    assert (await heir.committed(1), await heir.committed(2)) == (42, None)
    stranger = await other.join("auditors")
    await until_shared_out(other, [stranger])
    assert await stranger.committed(1) is None


class Told:
    """What a member in another process says of itself."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.instance = ""
        self.partitions: frozenset[int] | None = None
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while line := await self._child.line(limit_seconds=120):
            word, _, rest = line.partition(" ")
            if word == "is":
                self.instance = rest
            else:
                self.partitions = frozenset(map(int, rest.split()))

    async def owns_something(self) -> bool:
        """Whether it has its share."""
        return bool(self.partitions)

    async def stop(self) -> None:
        """Listen no more."""
        self._listening.cancel()


async def test_the_partitions_of_a_member_that_was_killed_pass_on(ground: Ground) -> None:
    log = await ground.open_log()
    survivor = await log.join(GROUP)
    child = await ground.launch("member.py")
    told = Told(child)
    await until(told.owns_something, "a share for the other process")
    assert told.instance in await survivor.living()
    child.send(signal.SIGKILL)
    await until_shared_out(log, [survivor])

    async def is_alone() -> bool:
        return await survivor.living() == {survivor.instance}

    await until(is_alone, "the killed one gone")
    await told.stop()


async def test_a_member_that_was_stopped_is_replaced_and_takes_its_share_again_when_it_goes_on(
    ground: Ground,
) -> None:
    log = await ground.open_log()
    survivor = await log.join(GROUP)
    child = await ground.launch("member.py")
    told = Told(child)
    await until(told.owns_something, "a share for the other process")
    stopped = told.instance
    child.send(signal.SIGSTOP)
    await until_shared_out(log, [survivor])

    async def stopped_is_gone() -> bool:
        return stopped not in await survivor.living()

    await until(stopped_is_gone, "the stopped one no longer among the living")
    child.send(signal.SIGCONT)

    async def is_shared_out() -> bool:
        theirs, ours = told.partitions or frozenset(), survivor.partitions
        return bool(theirs and ours) and sorted([*theirs, *ours]) == list(range(log.partition_count))

    await until(is_shared_out, "a share for each again")
    await told.stop()
