"""A crowd of runs is worked off in order, and no service needs more memory for it than it keeps of the plans."""

from pathlib import Path

import pytest

from faults.crowd import Crowd, Seen, crowd, grown, told

RUNS = 240
LIMIT_SECONDS = 120.0


@pytest.mark.timeout(2 * LIMIT_SECONDS)
async def test_a_crowd_of_runs_is_worked_off_first_come_first_served_in_bounded_memory(
    tmp_path: Path, database_url: str
) -> None:
    asked = Crowd(RUNS, runs_at_once=4, limit_seconds=LIMIT_SECONDS)
    seen, found = await crowd(tmp_path, database_url, database_url, "", asked)
    print(told(seen))
    assert found == [], "\n".join(found)


def _leaking(kib_a_run: float, runs: int) -> list[str]:
    """What is said of a service that keeps so much of each run."""
    seen = Seen(base_mib={"builder": 75.0}, memory_mib=[{"builder": 75.0 + 5.0 + kib_a_run * runs / 1024}])
    assert told(seen)
    return list(grown(seen, Crowd(runs, 4, LIMIT_SECONDS)))


def test_a_service_that_keeps_something_of_each_run_is_found_before_thousands_have_come() -> None:
    assert _leaking(0.0, RUNS) == []
    assert _leaking(60.0, RUNS) == ["the builder grew from 75 to 94 MiB"]
    assert _leaking(6.0, 10_000) == ["the builder grew from 75 to 139 MiB"]
