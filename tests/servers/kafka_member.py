"""A member of a group in a process of its own, to be stopped and killed. It says its instance, and stays."""

import asyncio
import sys

from events.log.kafka import KafkaLog, Timing


async def run(bootstrap: str, prefix: str, partition_count: int) -> None:
    """Be a member for ever."""
    log = await KafkaLog.open(bootstrap, partition_count, topic_prefix=prefix, timing=Timing(session_seconds=3.0))
    membership = await log.join("group")
    print(membership.instance, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
