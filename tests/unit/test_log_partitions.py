"""A project lives where Kafka's own clients put a record with its name as key."""

import pytest
from aiokafka.partitioner import murmur2 as of_the_client
from hypothesis import given
from hypothesis import strategies as st

from events.log.partitions import home_partition, murmur2


@given(st.binary(max_size=40))
def test_the_hash_of_a_key_is_that_of_the_client(key: bytes):
    assert murmur2(key) == of_the_client(key) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("project", "home"), [("shop", 4), ("", 1), ("a", 4), ("größe", 4), ("a project of 21 bytes", 5)]
)
def test_a_project_stays_where_it_is(project: str, home: int):
    """Whoever moved it would split its history."""
    assert home_partition(project, 8) == home
