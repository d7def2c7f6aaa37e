"""What of a rebuild is given to helpers, and what they are told."""

import pytest

from events.catalogue import Topic
from events.log.port import Place
from projections.filling import WORTH_HELPING, Share, shares
from services.rebuilding.asking import read, written
from services.servers import Servers
from services.settings import Settings

MANY = 10 * WORTH_HELPING


def targets(*ends: int) -> dict[Place, int]:
    return {Place(Topic.EVENTS, partition): end for partition, end in enumerate(ends)}


@pytest.mark.parametrize(
    ("ends", "most", "sizes"),
    [
        ((MANY,) * 8, 2, [4 * MANY, 4 * MANY]),
        ((MANY,) * 8, 4, [2 * MANY] * 4),
        ((MANY, 3 * MANY, MANY, 0), 2, [3 * MANY, 2 * MANY]),
        ((MANY, 0, 0, 0), 4, [MANY]),  # one project: one partition
        ((MANY, MANY, 0, 0), 4, [MANY, MANY]),
        ((MANY, WORTH_HELPING - 1), 2, [MANY + WORTH_HELPING - 1]),
        ((MANY, WORTH_HELPING), 2, [MANY, WORTH_HELPING]),
        ((10, 10), 4, [20]),
        ((MANY, MANY), 1, [2 * MANY]),
        ((), 2, [0]),
    ],
)
def test_a_share_is_worth_a_process_and_nothing_is_left_out(
    ends: tuple[int, ...], most: int, sizes: list[int]
) -> None:
    made = shares(targets(*ends), most)
    assert [sum(share.values()) for share in made] == sizes
    assert sum(map(len, made)) == len(ends)
    assert {place: end for share in made for place, end in share.items()} == targets(*ends)


def test_a_helper_is_told_all_that_the_log_asks_for_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        partitions=3,
        session_timeout_seconds=7.5,
        topic_prefix="team-",
        replication_factor=2,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="me",
        kafka_sasl_password="secret",
        kafka_ssl_cafile="ca.pem",
        grace_seconds=float("inf"),
        token="another secret",
    )
    share = Share("runs", targets(5, 7))
    line = written(settings, Servers("kafka://here", "postgresql://there"), share)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert b"another secret" not in line
    asked = read(line)
    assert (asked.log_url, asked.database_url, asked.share) == ("kafka://here", "postgresql://there", share)
    told = Settings(**asked.settings)
    read_by_log = ("partitions", "session_timeout_seconds", "topic_prefix", "replication_factor")
    names = [name for name in Settings.model_fields if name in read_by_log or name.startswith("kafka_")]
    assert {name: getattr(told, name) for name in names} == {name: getattr(settings, name) for name in names}
    assert asked.settings.keys() == set(names)
