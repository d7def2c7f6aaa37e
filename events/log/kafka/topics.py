"""The topics: made where they are missing, and refused where they are not as the log needs them."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerNotAvailableError,
    NoError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from events.catalogue import Topic
from events.log.kafka.connection import LARGEST_STEP_BYTES, LARGEST_SUBMITTED_BYTES
from events.log.kafka.durability import (
    IN_SYNC,
    REPLICAS,
    REPLICAS_IN_SYNC,
    Durability,
    durability,
    durability_faults,
    unusable,
)
from events.log.kafka.failures import TopicsUnfit
from events.log.kafka.records import TopicNames

FOR_EVER = -1
DAY_MILLISECONDS = 24 * 60 * 60 * 1000
LARGEST_REJECTION_BYTES = 4 * 1024 * 1024
_APPEARING_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Specification:
    """What a topic must be able to hold, and for how long.

    What strangers submit is stored uncompressed, so that its size limit is one of its real size: a record
    that was let in compressed could be too large to be forwarded or to be kept as a rejection.
    """

    retention_milliseconds: int
    largest_batch_bytes: int
    is_submitted: bool = False

    def settings(self) -> dict[str, str]:
        """The settings that the topic is made with."""
        exact = {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            # A broker that lacks what was acknowledged must not come to lead.
            "unclean.leader.election.enable": "false",
        }
        if self.is_submitted:
            exact["compression.type"] = "uncompressed"
        return exact | {name: str(value) for name, value in self._least().items()}

    def faults(self, found: Mapping[str, str]) -> Iterator[str]:
        """What is wrong with an existing topic; it may keep more, and for longer."""
        least = self._least()
        for name, wanted in self.settings().items():
            fits = _at_least(int(found[name]), least[name]) if name in least else found[name] == wanted
            if not fits:
                yield f"{name} is {found[name]}, not {wanted}"

    def _least(self) -> dict[str, int]:
        return {
            "retention.ms": self.retention_milliseconds,
            "retention.bytes": FOR_EVER,
            "max.message.bytes": self.largest_batch_bytes,
        }


SPECIFICATIONS: Mapping[Topic, Specification] = {
    Topic.COMMANDS: Specification(FOR_EVER, LARGEST_SUBMITTED_BYTES, is_submitted=True),
    Topic.RESULTS: Specification(FOR_EVER, LARGEST_SUBMITTED_BYTES, is_submitted=True),
    Topic.EVENTS: Specification(FOR_EVER, LARGEST_STEP_BYTES),
    Topic.REJECTIONS: Specification(30 * DAY_MILLISECONDS, LARGEST_REJECTION_BYTES),
    Topic.OUTPUT: Specification(DAY_MILLISECONDS, LARGEST_SUBMITTED_BYTES),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What topics are to be like: `replicas` as an operator says, or None; `named` brokers at least there are."""

    partition_count: int
    replicas: int | None
    named: int = 1


async def ensure_topics(admin: AIOKafkaAdminClient, names: TopicNames, wanted: Wanted) -> Durability:
    """Make the topics that are missing, verify all, and say how many hold what they acknowledge.

    Raises TopicsUnfit with every fault found, and BrokerNotAvailableError where topics have to wait for brokers.
    """
    present = set(await admin.list_topics())
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = wanted.replicas or (REPLICAS if brokers >= REPLICAS else 1)
    missing = [topic for topic in Topic if names.name(topic) not in present]
    if missing:
        if wanted.replicas is None and brokers < min(wanted.named, REPLICAS):
            # What is made now is so for good, and a cluster that is just being started is no smaller for it.
            raise BrokerNotAvailableError(f"topics are made when {min(wanted.named, REPLICAS)} brokers live")
        await _make(admin, names, missing, wanted.partition_count, replicas)
    described = await _described(admin, [names.name(topic) for topic in Topic])
    settings = await _settings(admin, [names.name(topic) for topic in Topic])
    faults = [
        *_count_faults(described, wanted.partition_count),
        *_setting_faults(names, settings),
        *(
            f"{t['topic']}: {fault}"
            for t in described
            for fault in durability_faults(t, settings[t["topic"]], replicas)
        ),
    ]
    if faults:
        raise TopicsUnfit(f"{TopicsUnfit.__doc__} {'; '.join(faults)}")
    return durability(described, settings)


async def _make(
    admin: AIOKafkaAdminClient, names: TopicNames, topics: list[Topic], partition_count: int, replicas: int
) -> None:
    durable = {IN_SYNC: str(REPLICAS_IN_SYNC)} if replicas > 1 else {}
    wanted = [
        NewTopic(
            names.name(topic),
            partition_count,
            replicas,
            topic_configs=SPECIFICATIONS[topic].settings() | durable,
        )
        for topic in topics
    ]
    response = await admin.create_topics(wanted)
    faults = []
    for name, code, message in response.topic_errors:
        error = for_code(code)
        if error.retriable:
            raise error(message)
        if error not in (NoError, TopicAlreadyExistsError):  # somebody else may have been faster
            faults.append(f"{name} could not be made: {message or error.__name__}")
    if faults:
        raise TopicsUnfit(f"{TopicsUnfit.__doc__} {'; '.join(faults)}")


async def _described(admin: AIOKafkaAdminClient, names: list[str]) -> list[Mapping[str, Any]]:
    """The topics' metadata, once the broker asked knows a leader of each partition."""
    while True:
        described: list[Mapping[str, Any]] = await admin.describe_topics(names)
        if not any(topic["error_code"] for topic in described) and not unusable(described, {}):
            return described
        await asyncio.sleep(_APPEARING_SECONDS)


def _count_faults(described: Iterable[Mapping[str, Any]], partition_count: int) -> Iterator[str]:
    for topic in described:
        found = len(topic["partitions"])
        if found != partition_count:
            yield f"{topic['topic']} has {found} partitions, not {partition_count}, which can never change"


def _setting_faults(names: TopicNames, settings: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for topic, specification in SPECIFICATIONS.items():
        name = names.name(topic)
        for fault in specification.faults(settings[name]):
            yield f"{name}: {fault}"


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """The topics' settings, once the broker asked knows all of them; each hears of a new one in its own time."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    while True:
        try:
            return _read_settings(await admin.describe_configs(resources))
        except UnknownTopicOrPartitionError:
            await asyncio.sleep(_APPEARING_SECONDS)


def _read_settings(responses: Iterable[Any]) -> dict[str, dict[str, str]]:
    found = {}
    for response in responses:
        for code, message, _, name, entries in response.resources:
            if code:
                raise for_code(code)(message)
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _at_least(found: int, wanted: int) -> bool:
    return found == FOR_EVER or (wanted != FOR_EVER and found >= wanted)
