"""How many brokers hold what was acknowledged, and topics that would lose it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

REPLICAS = 3
"""On a cluster that has as many brokers."""
REPLICAS_IN_SYNC = 2
"""So many must hold a record before it is acknowledged, wherever there are more than one."""
IN_SYNC = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class Durability:
    """Of the topics of a log: the least `replicas` of any, and how many have to be `in_sync`, by topic's name."""

    replicas: int
    in_sync: Mapping[str, int]


def durability(described: Iterable[Mapping[str, Any]], settings: Mapping[str, Mapping[str, str]]) -> Durability:
    """What topics promise, by their descriptions and settings."""
    in_sync = {name: int(found[IN_SYNC]) for name, found in settings.items()}
    return Durability(min(map(replicas_of, described)), in_sync)


def replicas_of(topic: Mapping[str, Any]) -> int:
    """How many replicas each partition of a topic has at least."""
    return min((len(partition["replicas"]) for partition in topic["partitions"]), default=0)


def durability_faults(topic: Mapping[str, Any], settings: Mapping[str, str], wanted: int) -> Iterator[str]:
    """Why a topic would lose what it has acknowledged with one broker, or acknowledge nothing at all."""
    replicas, in_sync = replicas_of(topic), int(settings[IN_SYNC])
    if replicas < wanted:
        yield (
            f"{replicas} replicas, not {wanted}: what was acknowledged would go with a broker "
            "(AUTOPACK_REPLICATION_FACTOR says how many are wanted)"
        )
    if in_sync > max(replicas, 1):
        yield f"{IN_SYNC} is {in_sync}, of {replicas} replicas: nothing could be written"
    elif replicas > 1 and in_sync < REPLICAS_IN_SYNC:
        yield f"{IN_SYNC} is {in_sync}, not {REPLICAS_IN_SYNC}: one broker alone would acknowledge"


def unusable(described: Iterable[Mapping[str, Any]], in_sync: Mapping[str, int]) -> list[str]:
    """The partitions that cannot be written to now, as `topic-partition`, and why."""
    found = []
    for topic in described:
        least = in_sync.get(topic["topic"], 1)
        for partition in topic["partitions"]:
            name = f"{topic['topic']}-{partition['partition']}"
            if partition["error_code"] or partition["leader"] < 0:
                found.append(f"nobody leads {name}")
            elif len(partition["isr"]) < least:
                found.append(f"{len(partition['isr'])} of {least} replicas that have to be in sync hold {name}")
    return found
