"""Topics that would lose what they have acknowledged are told from those that would not."""

from typing import Any

import pytest

from events.log.kafka.durability import IN_SYNC, durability, durability_faults, unusable


def topic(replicas: int, in_sync: int | None = None, *, leader: int = 1, name: str = "events") -> dict[str, Any]:
    """One of two partitions, of which the second always has three replicas."""
    one = {"replicas": list(range(replicas)), "isr": list(range(replicas if in_sync is None else in_sync))}
    other = {"replicas": [0, 1, 2], "isr": [0, 1, 2], "leader": 0, "error_code": 0, "partition": 1}
    return {"topic": name, "partitions": [{**one, "leader": leader, "error_code": 0, "partition": 0}, other]}


@pytest.mark.parametrize(
    ("replicas", "in_sync", "wanted", "told"),
    [
        (3, 2, 3, []),
        (3, 3, 3, []),
        (1, 1, 1, []),
        (3, 2, 1, []),
        (2, 2, 2, []),
        (1, 1, 3, ["1 replicas, not 3"]),
        (2, 2, 3, ["2 replicas, not 3"]),
        (3, 1, 3, ["min.insync.replicas is 1, not 2"]),
        (2, 1, 1, ["min.insync.replicas is 1, not 2"]),
        (3, 4, 3, ["min.insync.replicas is 4, of 3 replicas: nothing could be written"]),
        (1, 2, 3, ["1 replicas, not 3", "min.insync.replicas is 2, of 1 replicas: nothing could be written"]),
    ],
)
def test_what_one_broker_could_take_along_is_a_fault(
    replicas: int, in_sync: int, wanted: int, told: list[str]
) -> None:
    found = list(durability_faults(topic(replicas), {IN_SYNC: str(in_sync)}, wanted))
    assert len(found) == len(told), found
    assert all(fault.startswith(beginning) for fault, beginning in zip(found, told, strict=True)), found


def test_a_log_is_as_durable_as_the_least_of_its_topics() -> None:
    promised = durability(
        [topic(3), topic(1, name="output")], {"events": {IN_SYNC: "2"}, "output": {IN_SYNC: "1"}}
    )
    assert (promised.replicas, promised.in_sync) == (1, {"events": 2, "output": 1})


def test_a_partition_that_nobody_leads_or_too_few_hold_cannot_be_written_to() -> None:
    least = {"events": 2}
    assert unusable([topic(3), topic(3, 2)], least) == []
    assert unusable([topic(3, leader=-1)], least) == ["nobody leads events-0"]
    assert unusable([topic(3, 1)], least) == ["1 of 2 replicas that have to be in sync hold events-0"]
    assert unusable([topic(3, 1)], {}) == []
