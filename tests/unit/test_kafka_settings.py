"""The settings against loss: the library's own defaults lose records and double them."""

import logging
from typing import Any

import pytest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaTimeoutError, NodeNotReadyError
from aiokafka.producer import sender
from aiokafka.structs import TopicPartition

from events.catalogue import Topic
from events.log.kafka import suspects
from events.log.kafka.connection import Connection, Security, Timing
from events.log.kafka.endings import Endings
from events.log.kafka.library import TRANSACTION_RETRY_SECONDS, Lowered, tune
from events.log.kafka.offsets import Offsets
from events.log.kafka.records import TopicNames
from events.log.kafka.topics import FOR_EVER, SPECIFICATIONS
from events.log.port import Place

CONNECTION = Connection("127.0.0.1:9092", timing=Timing(step_seconds=7.0, session_seconds=6.0))
CONSUMERS = [CONNECTION.reader_settings(100), CONNECTION.member_settings("group", "instance")]
PRODUCERS = [CONNECTION.writer_settings("id", "instance"), CONNECTION.submitter_settings()]


@pytest.mark.parametrize("settings", PRODUCERS)
def test_every_replica_acknowledges_and_no_repetition_doubles(settings: dict[str, Any]) -> None:
    assert settings["acks"] == "all"
    assert settings["enable_idempotence"] is True
    assert settings["linger_ms"] == 0


@pytest.mark.parametrize("settings", CONSUMERS)
def test_readers_see_what_is_committed_and_commit_nothing_by_the_clock(settings: dict[str, Any]) -> None:
    assert settings["isolation_level"] == "read_committed"
    assert settings["enable_auto_commit"] is False


def test_a_reader_never_moves_by_itself() -> None:
    assert CONNECTION.reader_settings(100)["auto_offset_reset"] == "none"
    assert CONNECTION.reader_settings(100)["group_id"] is None


def test_a_member_lives_by_its_heartbeats_alone() -> None:
    settings = CONNECTION.member_settings("group", "instance")
    assert settings["client_id"] == "instance"
    assert settings["session_timeout_ms"] == 6_000
    assert settings["heartbeat_interval_ms"] * 3 < settings["session_timeout_ms"]
    assert settings["max_poll_interval_ms"] > 10**9
    assert settings["partition_assignment_strategy"] == (RangePartitionAssignor,)


def test_a_member_outwaits_a_rebalance_and_leaves_a_silent_broker_before_its_successor_gives_it_up() -> None:
    broker_is_given_up_ms = 9_000  # a broker's own default, `broker.session.timeout.ms`
    settings = Connection("127.0.0.1:9092").member_settings("group", "instance")
    assert settings["request_timeout_ms"] > settings["rebalance_timeout_ms"]
    assert settings["request_timeout_ms"] < broker_is_given_up_ms + settings["session_timeout_ms"]


def test_no_request_of_a_writer_is_repeated_for_lateness_within_its_step() -> None:
    settings = CONNECTION.writer_settings("id", "instance")
    assert settings["transactional_id"] == "id"
    assert settings["request_timeout_ms"] >= 7_000
    assert settings["transaction_timeout_ms"] > 7_000
    assert settings["retry_backoff_ms"] == 5


def test_a_reader_hears_of_silence_in_time_to_ask_another_broker() -> None:
    limit_ms = CONNECTION.reader_settings(100)["request_timeout_ms"]
    assert 1000 * suspects.VAIN_SECONDS < limit_ms < CONNECTION.timing.reading_seconds * 1000 / 2


async def test_who_asks_where_a_partition_ends_asks_again_when_the_library_has_given_up() -> None:
    asked = []

    class Consumer:
        async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
            asked.append(partitions)
            if len(asked) == 1:
                raise KafkaTimeoutError("Failed to get offsets by times in 3333 ms")
            return dict.fromkeys(partitions, 7)

    offsets = Offsets(CONNECTION, TopicNames("prefix."), Endings())
    offsets._consumer = Consumer()
    place = Place(Topic.EVENTS, 0)
    assert await offsets.stable_ends([place]) == {place: 7}
    assert len(asked) == 2


def test_a_batch_as_large_as_a_step_may_be_fits_the_history() -> None:
    settings = CONNECTION.writer_settings("id", "instance")
    limit = SPECIFICATIONS[Topic.EVENTS].largest_batch_bytes
    assert settings["max_batch_size"] == settings["max_request_size"] == limit == 16 * 1024 * 1024


def test_what_is_submitted_fits_a_rejection() -> None:
    limit = CONNECTION.submitter_settings()["max_request_size"]
    assert SPECIFICATIONS[Topic.COMMANDS].largest_batch_bytes == limit
    assert SPECIFICATIONS[Topic.REJECTIONS].largest_batch_bytes >= 2 * limit


@pytest.mark.parametrize("topic", [Topic.COMMANDS, Topic.RESULTS, Topic.EVENTS])
def test_no_clock_deletes_history_or_what_is_submitted(topic: Topic) -> None:
    settings = SPECIFICATIONS[topic].settings()
    assert settings["retention.ms"] == settings["retention.bytes"] == str(FOR_EVER)
    assert settings["cleanup.policy"] == "delete"


@pytest.mark.parametrize("topic", list(Topic))
def test_the_log_tells_the_time(topic: Topic) -> None:
    assert SPECIFICATIONS[topic].settings()["message.timestamp.type"] == "LogAppendTime"


def test_the_librarys_pause_between_transactions_is_shortened() -> None:
    tune()
    tune()
    assert sender.BACKOFF_OVERRIDE == TRANSACTION_RETRY_SECONDS
    assert sum(isinstance(known, Lowered) for known in sender.log.filters) == 1


def test_expected_retries_are_said_below_warning(caplog: pytest.LogCaptureFixture) -> None:
    tune()
    with caplog.at_level(logging.DEBUG, logger=sender.log.name):
        sender.log.warning("retrying. Error: %s", "NotEnoughReplicasError")
        sender.log.warning("retrying. Error: %s", "ConcurrentTransactions")
        sender.log.warning("retrying. Error: %s", "NotLeaderForPartitionError")
    assert [said.levelno for said in caplog.records] == [logging.DEBUG, logging.DEBUG, logging.WARNING]


def test_a_broker_that_is_away_is_not_told_of_many_times_a_second(caplog: pytest.LogCaptureFixture) -> None:
    tune()
    logging.getLogger("aiokafka").error("Unable connect to node with id %s: %s", 1, "refused")
    logging.getLogger("aiokafka.consumer.fetcher").error("Failed fetch messages from %s: %s", 1, "closed")
    for said in ("Group Coordinator Request failed: %s", "Heartbeat send request failed: %s. Will retry."):
        logging.getLogger("aiokafka.consumer.group_coordinator").error(said, "NodeNotReadyError")
    sender.log.warning("Cannot send %r to %s: %r", "EndTxnRequest", 1, NodeNotReadyError("not ready"))
    assert caplog.records == []


def test_expected_retries_are_not_said_at_all_where_debugging_is_off(caplog: pytest.LogCaptureFixture) -> None:
    tune()
    with caplog.at_level(logging.INFO, logger=sender.log.name):
        sender.log.warning("retrying. Error: %s", "NotEnoughReplicasError")
    assert caplog.records == []


def test_a_password_is_not_shown() -> None:
    assert "hunter2" not in repr(Security("SASL_SSL", user="u", password="hunter2"))
