"""What all parts of one log share."""

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient

from events.log.kafka.connection import Connection, Timing
from events.log.kafka.endings import Endings
from events.log.kafka.offsets import Offsets
from events.log.kafka.reader import RangeReader
from events.log.kafka.records import TopicNames


@dataclass(frozen=True, slots=True)
class Clients:
    """The shared clients, the names, and how to make more clients."""

    connection: Connection
    names: TopicNames
    admin: AIOKafkaAdminClient
    offsets: Offsets
    reader: RangeReader
    endings: Endings

    @property
    def timing(self) -> Timing:
        """The time limits."""
        return self.connection.timing
