"""Where a project lives: Kafka's default partitioner, on every log."""

from functools import lru_cache


@lru_cache(maxsize=65_536)
def home_partition(project: str, partition_count: int) -> int:
    """The partition of a project: murmur2 of the key, as the Java client and KIP-480's keyed records do."""
    # Only where it is needed: a whole client comes with it, and most commands ask for no partition.
    from aiokafka.partitioner import murmur2

    return int((murmur2(project.encode()) & 0x7FFFFFFF) % partition_count)
