"""The topics: made as the log needs them, and refused by name where they are otherwise."""

from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from events.catalogue import Topic
from events.log.kafka import KafkaLog, TopicsUnfit
from events.log.kafka.topics import SPECIFICATIONS
from events.log.port import LogUnavailable
from servers.kafka import KafkaBroker
from servers.ports import free_ports
from support.kafka_log import PARTITIONS, fresh_prefix, opened_log


@pytest.fixture
async def admin(kafka_broker: KafkaBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    await client.start()
    yield client
    await client.close()


async def settings_of(admin: AIOKafkaAdminClient, name: str) -> dict[str, str]:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def make(admin: AIOKafkaAdminClient, prefix: str, topic: Topic, partitions: int, **changed: str) -> None:
    """A topic made by somebody else, in some settings otherwise than the log would."""
    settings = SPECIFICATIONS[topic].settings() | {
        name.replace("_", "."): value for name, value in changed.items()
    }
    response = await admin.create_topics([NewTopic(f"{prefix}{topic}", partitions, 1, topic_configs=settings)])
    assert [code for _, code, _ in response.topic_errors] == [0]


async def refusal(broker: KafkaBroker, prefix: str, replication_factor: int | None = None) -> str:
    with pytest.raises(TopicsUnfit) as refused:
        await KafkaLog.open(
            broker.bootstrap, PARTITIONS, topic_prefix=prefix, replication_factor=replication_factor
        )
    return str(refused.value)


async def test_missing_topics_are_made_so_that_nothing_is_lost_by_the_clock(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient
) -> None:
    prefix = fresh_prefix()
    async with opened_log(kafka_broker.bootstrap, prefix) as log:
        assert log.partition_count == PARTITIONS
    for topic in Topic:
        settings = await settings_of(admin, f"{prefix}{topic}")
        assert settings["message.timestamp.type"] == "LogAppendTime"
        assert settings["cleanup.policy"] == "delete"
        assert settings["retention.bytes"] == "-1"
        assert settings["unclean.leader.election.enable"] == "false"
    retention = {topic: (await settings_of(admin, f"{prefix}{topic}"))["retention.ms"] for topic in Topic}
    assert retention == {
        Topic.COMMANDS: "-1",
        Topic.RESULTS: "-1",
        Topic.EVENTS: "-1",
        Topic.REJECTIONS: str(30 * 24 * 3_600_000),
        Topic.OUTPUT: str(24 * 3_600_000),
    }
    assert (await settings_of(admin, f"{prefix}{Topic.EVENTS}"))["max.message.bytes"] == str(16 * 1024 * 1024)
    assert (await settings_of(admin, f"{prefix}{Topic.REJECTIONS}"))["max.message.bytes"] == str(4 * 1024 * 1024)


async def test_topics_are_opened_again_as_they_are(kafka_broker: KafkaBroker) -> None:
    prefix = fresh_prefix()
    for _ in range(2):
        async with opened_log(kafka_broker.bootstrap, prefix) as log:
            await log.check()


async def test_another_number_of_partitions_is_refused(kafka_broker: KafkaBroker) -> None:
    prefix = fresh_prefix()
    async with opened_log(kafka_broker.bootstrap, prefix):
        pass
    with pytest.raises(TopicsUnfit, match=rf"{prefix}{Topic.EVENTS} has {PARTITIONS} partitions, not 8"):
        await KafkaLog.open(kafka_broker.bootstrap, 8, topic_prefix=prefix)


async def test_a_topic_with_other_partitions_than_the_rest_is_named(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient
) -> None:
    prefix = fresh_prefix()
    await make(admin, prefix, Topic.RESULTS, PARTITIONS + 1)
    said = await refusal(kafka_broker, prefix)
    assert f"{prefix}{Topic.RESULTS} has {PARTITIONS + 1} partitions, not {PARTITIONS}" in said
    assert str(Topic.EVENTS) not in said


async def test_every_setting_that_would_lose_records_is_named(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient
) -> None:
    prefix = fresh_prefix()
    await make(admin, prefix, Topic.EVENTS, PARTITIONS, retention_ms="604800000", retention_bytes="1000000")
    await make(admin, prefix, Topic.COMMANDS, PARTITIONS, message_timestamp_type="CreateTime")
    await make(admin, prefix, Topic.RESULTS, PARTITIONS, cleanup_policy="compact")
    await make(admin, prefix, Topic.REJECTIONS, PARTITIONS, retention_ms="1000")
    await make(admin, prefix, Topic.OUTPUT, PARTITIONS, unclean_leader_election_enable="true")
    said = await refusal(kafka_broker, prefix)
    assert f"{prefix}{Topic.EVENTS}: retention.ms is 604800000, not -1" in said
    assert f"{prefix}{Topic.EVENTS}: retention.bytes is 1000000, not -1" in said
    assert f"{prefix}{Topic.COMMANDS}: message.timestamp.type is CreateTime, not LogAppendTime" in said
    assert f"{prefix}{Topic.RESULTS}: cleanup.policy is compact, not delete" in said
    assert f"{prefix}{Topic.REJECTIONS}: retention.ms is 1000, not " in said
    assert f"{prefix}{Topic.OUTPUT}: unclean.leader.election.enable is true, not false" in said


async def test_topics_may_keep_more_and_for_longer(kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient) -> None:
    prefix = fresh_prefix()
    await make(admin, prefix, Topic.REJECTIONS, PARTITIONS, retention_ms="-1")
    await make(admin, prefix, Topic.OUTPUT, PARTITIONS, retention_ms="172800000", max_message_bytes="9000000")
    async with opened_log(kafka_broker.bootstrap, prefix) as log:
        await log.check()


async def test_more_replicas_than_there_are_brokers_are_refused(kafka_broker: KafkaBroker) -> None:
    with pytest.raises(TopicsUnfit, match="could not be made"):
        await KafkaLog.open(kafka_broker.bootstrap, PARTITIONS, topic_prefix=fresh_prefix(), replication_factor=3)


async def test_topics_with_fewer_replicas_than_an_operator_wants_are_named(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient
) -> None:
    prefix = fresh_prefix()
    for topic in Topic:
        await make(admin, prefix, topic, PARTITIONS)
    said = await refusal(kafka_broker, prefix, replication_factor=2)
    for topic in Topic:
        assert f"{prefix}{topic}: 1 replicas, not 2: what was acknowledged would go with a broker" in said


async def test_a_topic_that_could_never_be_written_to_is_named(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient
) -> None:
    prefix = fresh_prefix()
    await make(admin, prefix, Topic.EVENTS, PARTITIONS, min_insync_replicas="2")
    said = await refusal(kafka_broker, prefix)
    assert f"{prefix}{Topic.EVENTS}: min.insync.replicas is 2, of 1 replicas: nothing could be written" in said


async def test_topics_are_not_made_before_as_many_brokers_live_as_are_named(
    kafka_broker: KafkaBroker, admin: AIOKafkaAdminClient
) -> None:
    """A cluster that is just being started would have topics of one replica for good."""
    prefix, (absent,) = fresh_prefix(), free_ports(1)
    named = f"{kafka_broker.bootstrap},127.0.0.1:{absent}"
    with pytest.raises(LogUnavailable, match="topics are made when 2 brokers live"):
        await KafkaLog.open(named, PARTITIONS, topic_prefix=prefix)
    assert not {f"{prefix}{topic}" for topic in Topic} & set(await admin.list_topics())
    log = await KafkaLog.open(named, PARTITIONS, topic_prefix=prefix, replication_factor=1)
    assert log.replicas == 1
    await log.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(LogUnavailable, match=f"127.0.0.1:{port}"):
        await KafkaLog.open(f"127.0.0.1:{port}", PARTITIONS)
