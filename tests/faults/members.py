"""Who is a member of a group of services, and holds which partitions, as the log's server tells it to anybody."""

from collections.abc import Mapping
from contextlib import suppress

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from faults.world import World

Shares = Mapping[str, frozenset[int]]
"""The partitions of each member, by the member's id."""
_MEMBERS = "SELECT instance FROM autopack_log.members WHERE group_name = $1 ORDER BY joined"


async def shares(world: World, group: str) -> Shares:
    """What a group has shared out at this moment; nothing while its server cannot say."""
    with suppress(OSError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError):
        if world.log_url.startswith("kafka://"):
            name = f"{world.topic_prefix}autopack-{group}"
            return await _on_kafka(world.log_url.removeprefix("kafka://"), name)
        return await _on_postgres(world.log_url, group, world.partitions)
    return {}


async def _on_kafka(bootstrap: str, group: str) -> Shares:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        responses = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    members = [member for response in responses for told in response.groups for member in told[5]]
    return {client_id: _assigned(assignment) for _, client_id, _, _, assignment, *_ in members}


def _assigned(assignment: bytes) -> frozenset[int]:
    """Nothing while the group is being shared out anew."""
    if not assignment:
        return frozenset()
    return frozenset(one.partition for one in ConsumerProtocolMemberAssignment.decode(assignment).partitions())


async def _on_postgres(url: str, group: str, partitions: int) -> Shares:
    """There the i-th of n members, in the order of their coming, holds each n-th partition from the i-th on."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_MEMBERS, group)
    finally:
        connection.terminate()  # to part politely would wait for a server that says nothing
    return {row["instance"]: frozenset(range(own, partitions, len(rows))) for own, row in enumerate(rows)}
