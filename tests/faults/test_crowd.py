"""A crowd of runs is worked off in order, and no service needs more memory for it than it keeps of the plans."""

from pathlib import Path

import pytest

from faults.crowd import Crowd, crowd, told

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
