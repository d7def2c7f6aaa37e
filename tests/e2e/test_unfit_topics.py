"""Topics that would lose the history are refused at the start, and named by `doctor`: on Kafka, by its users."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from events.catalogue import Topic
from events.log.kafka.topics import SPECIFICATIONS
from servers.kafka import KafkaBroker
from support.command_line import CommandLine
from support.kafka_log import fresh_prefix

PARTITIONS = 2
WRONG = {
    Topic.EVENTS: "retention.ms is 604800000, not -1",
    Topic.RESULTS: "has 3 partitions, not 2",
    Topic.COMMANDS: "min.insync.replicas is 2, of 1 replicas: nothing could be written",
}


@pytest.fixture
async def prefix(kafka_broker: KafkaBroker) -> str:
    """Of topics that somebody else made, three of them wrong."""
    made = fresh_prefix()
    changed = {Topic.EVENTS: {"retention.ms": "604800000"}, Topic.COMMANDS: {"min.insync.replicas": "2"}}
    client = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap)
    await client.start()
    try:
        response = await client.create_topics(
            [
                NewTopic(
                    f"{made}{topic}",
                    PARTITIONS + (topic is Topic.RESULTS),
                    1,
                    topic_configs=specification.settings() | changed.get(topic, {}),
                )
                for topic, specification in SPECIFICATIONS.items()
            ]
        )
    finally:
        await client.close()
    assert {code for _, code, _ in response.topic_errors} == {0}
    return made


@pytest.fixture
async def cli(tmp_path: Path, kafka_broker: KafkaBroker, database_url: str) -> AsyncIterator[CommandLine]:
    variables = {
        "AUTOPACK_LOG": f"kafka://{kafka_broker.bootstrap}",
        "AUTOPACK_DATABASE": database_url,
        "AUTOPACK_PARTITIONS": str(PARTITIONS),
    }
    command_line = CommandLine(tmp_path, variables)
    yield command_line
    await command_line.stop()


def assert_named(said: str, prefix: str) -> None:
    flat = " ".join(said.split())
    for topic, fault in WRONG.items():
        assert f"{prefix}{topic}" in flat, said
        assert fault in flat, said
    assert "Traceback" not in said


@pytest.mark.parametrize("service", ["supervisor", "api"])
async def test_a_service_refuses_topics_that_would_lose_what_is_acknowledged_and_names_each(
    cli: CommandLine, prefix: str, service: str
) -> None:
    cli.variables = {**cli.variables, "AUTOPACK_TOPIC_PREFIX": prefix, "AUTOPACK_LISTEN": "127.0.0.1:0"}
    ended = await cli.run("serve", service)
    assert ended.exit_code == 1, ended.err
    assert_named(ended.err, prefix)


async def test_doctor_names_topics_that_would_lose_what_is_acknowledged(cli: CommandLine, prefix: str) -> None:
    cli.variables = {**cli.variables, "AUTOPACK_TOPIC_PREFIX": prefix}
    looked = await cli.run("doctor", "--json")
    assert looked.exit_code == 1, looked.err
    (servers,) = (one for one in looked.document["findings"] if one["name"] == "servers")
    assert servers["grade"] == "missing"
    assert_named(servers["message"], prefix)


async def test_doctor_notes_that_one_broker_alone_holds_the_log(cli: CommandLine) -> None:
    cli.variables = {**cli.variables, "AUTOPACK_TOPIC_PREFIX": fresh_prefix()}
    looked = await cli.run("doctor", "--json")
    (servers,) = (one for one in looked.document["findings"] if one["name"] == "servers")
    assert servers["grade"] == "note", servers
    assert "one broker alone holds each record" in servers["message"]
