"""Where a project lives: Kafka's default partitioner, on every log.

Here rather than from a client of Kafka: with that one comes all of the client, into every command and service.
"""

from functools import lru_cache

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_WORD = 0xFFFFFFFF


@lru_cache(maxsize=65_536)
def home_partition(project: str, partition_count: int) -> int:
    """The partition of a project: murmur2 of the key, as the Java client and KIP-480's keyed records do."""
    return (murmur2(project.encode()) & 0x7FFFFFFF) % partition_count


def murmur2(key: bytes) -> int:
    """MurmurHash2 of 32 bits, unsigned, under the seed of Kafka's clients."""
    whole = len(key) & ~3
    found = (_SEED ^ len(key)) & _WORD
    for place in range(0, whole, 4):
        word = int.from_bytes(key[place : place + 4], "little") * _FACTOR & _WORD
        word = (word ^ word >> 24) * _FACTOR & _WORD
        found = (found * _FACTOR & _WORD) ^ word
    if rest := key[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * _FACTOR & _WORD
    found = (found ^ found >> 13) * _FACTOR & _WORD
    return found ^ found >> 15
