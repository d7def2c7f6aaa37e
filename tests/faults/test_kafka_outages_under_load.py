"""Builds on one Kafka broker that is silent, killed and started again, and whose groups never come to rest."""

from pathlib import Path
from uuid import uuid4

import pytest

from faults.driving import Load, build_while, verdict
from faults.ground import Ground, ground
from faults.outages import outages_of_kafka
from faults.standing import stand
from faults.storm import WORKING, storm
from servers.kafka import KafkaBroker

FAULTS_SECONDS = 240.0
SETTLING_SECONDS = 120.0
AWAY_SECONDS = 3.0
STORM_SECONDS = 10.0
EVERY_SECONDS = 2.0

pytestmark = pytest.mark.timeout(FAULTS_SECONDS + 2 * SETTLING_SECONDS)


async def _settled(place: Ground) -> None:
    await place.until_all_ended(SETTLING_SECONDS)
    await place.until_served(SETTLING_SECONDS)


async def test_services_live_wait_and_go_on_when_their_broker_is_silent_or_killed(
    tmp_path: Path, database_url: str, own_kafka_broker: KafkaBroker
) -> None:
    async def away() -> None:
        for name, outage in outages_of_kafka(own_kafka_broker).items():
            print(await stand(place, name, outage, AWAY_SECONDS))

    async with ground(tmp_path, f"kafka://{own_kafka_broker.bootstrap}", database_url) as place:
        await build_while(place, Load(3), away(), FAULTS_SECONDS)
        await _settled(place)
    found = await verdict(place)
    assert found == [], "\n".join(found)
    assert place.observer.ended


async def test_nothing_is_done_twice_while_members_join_and_leave_all_the_time(
    tmp_path: Path, database_url: str, kafka_broker: KafkaBroker
) -> None:
    log_url, prefix = f"kafka://{kafka_broker.bootstrap}", f"storm-{uuid4().hex[:8]}-"
    async with ground(tmp_path, log_url, database_url, topic_prefix=prefix) as place:
        raging = storm(place, WORKING, STORM_SECONDS, EVERY_SECONDS)
        await build_while(place, Load(3), raging, FAULTS_SECONDS)
        await _settled(place)
    found = await verdict(place)
    assert found == [], "\n".join(found)
    assert place.observer.ended
