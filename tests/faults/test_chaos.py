"""`make chaos` itself, as small as it can be: every kind of fault that one log has, once, and the verdict."""

from collections import Counter
from pathlib import Path

import pytest

from faults.__main__ import arguments
from faults.chaos import chaos

SMALL = """
--log postgres --seed 7 --events 60 --kills 3 --cuts 1 --outage-seconds 2 --storm-seconds 2 --storm-every 1
--session-seconds 2 --hours 0.1
"""
POINTS = {"verifier": ["result-kept", "tree-made:stop"]}
SAID = (
    "step of the supervisor: committed and not answered, 1 times",
    "Postgres killed with its keeper: history and tables moved on",
    "Postgres away, and continued: not ready",
    "10 members joined and left",
    "kills by seed 7",
    " 3 kills",
)


@pytest.mark.timeout(900)
async def test_chaos_strikes_in_every_way_and_every_invariant_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await chaos("postgres", arguments(SMALL.split()), tmp_path, POINTS)
    said = capsys.readouterr().out
    print(said)
    assert found == [], "\n".join(found)
    assert Counter(one in said for one in SAID) == {True: len(SAID)}, [one for one in SAID if one not in said]
