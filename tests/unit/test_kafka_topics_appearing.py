"""A topic that has just been made is waited for, whichever broker is asked for its settings."""

from types import SimpleNamespace
from typing import Any

from aiokafka.errors import UnknownTopicOrPartitionError

from events.log.kafka.topics import _settings


class Late:
    """Brokers of which the first that is asked has not heard of the topic yet."""

    def __init__(self) -> None:
        self.codes = [UnknownTopicOrPartitionError.errno, 0]

    async def describe_configs(self, _: object) -> list[Any]:
        code = self.codes.pop(0)
        entries = [] if code else [("retention.ms", "-1")]
        return [SimpleNamespace(resources=[(code, "", 2, "events", entries)])]


async def test_the_settings_of_a_new_topic_are_asked_for_until_a_broker_knows_it() -> None:
    brokers: Any = Late()
    assert await _settings(brokers, ["events"]) == {"events": {"retention.ms": "-1"}}
    assert brokers.codes == []
