"""The client for topics, groups and deleting, which asks another broker where one does not answer."""

import asyncio
import random

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.metadata import MetadataRequest

FROM_MEMORY = (MetadataRequest, FindCoordinatorRequest)
"""What a broker answers at once, if it lives."""
PATIENCE_SECONDS = 1.5


class Admin(AIOKafkaAdminClient):  # type: ignore[misc]  # the library has no types
    """The library asks one broker by chance, and fails where that one has gone: for as long as the cluster has
    not noticed, that is every third time on three brokers, of which two do very well without the third.
    """

    async def _send_request(self, request: Request, node_id: int | None = None) -> Response:
        if node_id is not None:
            return await super()._send_request(request, node_id)
        brokers = [broker.nodeId for broker in self._client.cluster.brokers()]
        *others, last = random.sample(brokers, len(brokers)) or [None]
        for broker in others:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS if isinstance(request, FROM_MEMORY) else None):
                    return await super()._send_request(request, broker)
            except (KafkaConnectionError, NodeNotReadyError, TimeoutError):
                continue
        return await super()._send_request(request, last)
