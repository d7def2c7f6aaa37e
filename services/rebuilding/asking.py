"""What a helper is asked for: a line of JSON on its standard input, where nobody else sees the passwords in it."""

from typing import Any

from msgspec import Struct
from msgspec.json import decode, encode

from events.catalogue import Topic
from events.log.port import Place
from projections.filling import Share
from services.servers import Servers
from services.settings import Settings

OF_THE_LOG = {"partitions", "session_timeout_seconds", "topic_prefix", "replication_factor"}
"""Settings of those who read the log, beside the ones that begin with `kafka_`."""


class Asked(Struct, frozen=True):
    """A share of a table, and where the log and the database are. Targets are (topic, partition, offset)."""

    settings: dict[str, Any]
    log_url: str
    database_url: str
    projection: str
    targets: list[tuple[str, int, int]]

    @property
    def share(self) -> Share:
        """What is to be filled."""
        targets = {Place(Topic(topic), partition): target for topic, partition, target in self.targets}
        return Share(self.projection, targets)


def written(settings: Settings, servers: Servers, share: Share) -> bytes:
    """The line that asks for a share."""
    targets = [(str(place.topic), place.partition, target) for place, target in share.targets.items()]
    names = {name for name in Settings.model_fields if name in OF_THE_LOG or name.startswith("kafka_")}
    given = settings.model_dump(mode="json", include=names)
    return encode(Asked(given, servers.log_url, servers.database_url, share.projection, targets)) + b"\n"


def read(line: bytes) -> Asked:
    """What the line asks for."""
    return decode(line, type=Asked)
