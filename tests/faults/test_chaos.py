"""`make chaos` itself, as small as it can be: every kind of fault that a log has, once, and the verdict."""

from pathlib import Path

import pytest

from faults.__main__ import arguments
from faults.chaos import chaos
from faults.servers import LOGS

SMALL = """
--seed 7 --events 60 --kills 3 --cuts 1 --outage-seconds 2 --storm-seconds 2 --storm-every 1
--session-seconds 2 --hours 0.2
"""
POINTS = {"verifier": ["result-kept", "tree-made@2", "tree-made:stop"]}
SAID = {
    "postgres": (
        "step of the supervisor: committed and not answered, 1 times",
        "Postgres killed with its keeper: history and tables moved on",
        "Postgres away, and continued: not ready",
    ),
    "kafka": (
        "batch of the projector: committed and not answered, 1 times",
        "Postgres killed with its keeper: history and tables moved on",
        "broker away, and continued: not ready",
        "broker killed, away, and started: not ready",
    ),
}
ANYWHERE = ("12 members joined and left", "kills by seed 7", " 3 kills")


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("log", SAID)
async def test_chaos_strikes_in_every_way_and_every_invariant_holds(
    log: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await chaos(log, arguments(SMALL.split()), tmp_path, POINTS)
    said = capsys.readouterr().out
    print(said)
    assert found == [], "\n".join(found)
    assert [one for one in (*SAID[log], *ANYWHERE) if one not in said] == []


def test_make_chaos_alone_asks_for_all_of_it_on_every_log() -> None:
    given = arguments([])
    assert LOGS == ("postgres", "kafka", "cluster")
    assert (given.log, given.only) == (None, None)
    assert (given.kills, given.events, given.crowd) == (1000, 100_000, 10_000)
    assert (given.deaths, given.outage_seconds) == (2, 60)
    assert (given.storm_seconds, given.storm_every) == (60, 2)
