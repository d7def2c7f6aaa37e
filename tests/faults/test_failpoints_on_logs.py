"""Every service dies at every failpoint of its own while builds go on, and nothing is lost or done twice."""

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from faults.driving import EVENTS_A_RUN, Load, build_until, verdict
from faults.failpoints import deaths_table, points_on
from faults.ground import Ground, ground
from servers.kafka import KafkaBroker

DYING_SECONDS = 240.0
SETTLING_SECONDS = 120.0


async def _die_everywhere(folder: Path, log: str, log_url: str, database_url: str, prefix: str) -> Ground:
    """Every failpoint of a log once, and every run at its end. Returns the ground, whose services have ended."""
    points = points_on(log)
    async with ground(folder, log_url, database_url, topic_prefix=prefix, failpoints=points) as place:
        try:
            await build_until(place, Load(3, EVENTS_A_RUN), lambda: not place.fleet.missing(), DYING_SECONDS)
        except TimeoutError:
            pytest.fail(f"never died at {place.fleet.missing()}\n{place.fleet.tails()}")
        await place.until_all_ended(SETTLING_SECONDS)
        await place.until_served(SETTLING_SECONDS)
    print(f"deaths at failpoints on {log}:\n{deaths_table(place.fleet.deaths())}")
    return place


async def _assert_all_holds(place: Ground, log: str) -> None:
    wanted = Counter((service, name) for service, names in points_on(log).items() for name in names)
    assert place.fleet.deaths() == wanted
    found = await verdict(place)
    assert found == [], "\n".join(found)


@pytest.mark.timeout(DYING_SECONDS + 2 * SETTLING_SECONDS)
async def test_nothing_is_lost_by_dying_at_any_failpoint_on_postgres(tmp_path: Path, database_url: str) -> None:
    place = await _die_everywhere(tmp_path, "postgres", database_url, database_url, "")
    await _assert_all_holds(place, "postgres")


@pytest.mark.timeout(DYING_SECONDS + 2 * SETTLING_SECONDS)
async def test_nothing_is_lost_by_dying_at_any_failpoint_on_kafka(
    tmp_path: Path, database_url: str, kafka_broker: KafkaBroker
) -> None:
    log_url, prefix = f"kafka://{kafka_broker.bootstrap}", f"faults-{uuid4().hex[:8]}-"
    place = await _die_everywhere(tmp_path, "kafka", log_url, database_url, prefix)
    await _assert_all_holds(place, "kafka")
