"""Whatever emitters, workers and clocks do, the decider keeps its rules and every run comes to an end."""

import os

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from support.simulated_workers import Tape
from support.simulation import World

LANES = 10
"""The cases are dealt out, so that workers share them and each part has the time of one test."""
CASES = 20_000 if os.environ.get("AUTOPACK_TEST_REQUIRE") == "all" else 400

SCRIPTS = st.binary(min_size=24, max_size=160)


@pytest.mark.parametrize("lane", range(LANES))
@pytest.mark.timeout(600)
def test_every_invariant_holds_in_whatever_order_things_happen(lane: int):
    """A failure prints the script; `World(Tape(bytes.fromhex(...))).play()` tells its story again."""

    @settings(
        max_examples=CASES // LANES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(script=SCRIPTS)
    def holds(script: bytes) -> None:
        note(f"lane {lane}, script {script.hex()}")
        World(Tape(script)).play()

    holds()
