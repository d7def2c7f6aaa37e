"""An attempt more than the script has, a failure in no script, and a refused run that was admitted are found."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from faults import scripts
from faults.invariants.evidence import HISTORY, Log, Record
from faults.invariants.records import record

BUILT = ("BuildRequested", "BuildSucceeded")
MENDED = ("RunRequested", *BUILT, "ChecksFailed", *BUILT, "SnapshotCreated", "RunCompleted")
AUDITED = ("RunRequested", *BUILT, "AuditCompleted", *BUILT, "AuditCompleted", "SnapshotCreated", "RunCompleted")
CUT = ("RunRequested", "BuildRequested", "WorkRevoked", "PhaseFailed", "RunFailed")


def _log(run_id: str, phase_id: str, names: Sequence[str]) -> Log:
    return Log([_record(run_id, phase_id, number, name) for number, name in enumerate(names)], {})


def _record(run_id: str, phase_id: str, number: int, name: str) -> Record:
    name, _, failure = name.partition(":")
    told: dict[str, Any] = {"phase_id": phase_id, "failure": failure, "phases": [{"phase_id": phase_id}]}
    event = {"project": "shop", "runid": run_id, "sequence": number, "type": f"autopack.{name}.v1", "data": told}
    return record(HISTORY, 0, number, b"shop", json.dumps(event).encode(), {}, datetime.now(UTC))


@pytest.mark.parametrize(
    ("run_id", "phase_id", "names"),
    [
        ("run-1", "plain-1", ("RunRequested", *BUILT, "SnapshotCreated", "RunCompleted")),
        ("run-1", "mended-2", MENDED),
        ("run-1", "audited-3", AUDITED),
        ("cancelled-1", "mended-1", CUT),
        ("cancelled-1", "mended-1", (*CUT[:3], "BuildFailed:revoked", *CUT[3:])),
        ("cancelled-1", "mended-1", MENDED),
        ("tracked-1", "elsewhere", CUT),
    ],
)
def test_a_run_as_its_script_has_it_is_whole(run_id: str, phase_id: str, names: Sequence[str]) -> None:
    assert list(scripts.violations(_log(run_id, phase_id, names))) == []


@pytest.mark.parametrize(
    ("run_id", "phase_id", "names"),
    [
        pytest.param("run-1", "plain-1", MENDED, id="one-attempt-more"),
        pytest.param("run-1", "mended-1", ("RunRequested", *BUILT, "RunCompleted"), id="one-attempt-less"),
        pytest.param("run-1", "mended-1", (*MENDED[:-1], "BuildFailed", "RunCompleted"), id="failed"),
        pytest.param("run-1", "audited-1", (*AUDITED[:-1], "DeadlinePassed", "RunCompleted"), id="late"),
        pytest.param("run-1", "audited-1", (*AUDITED[:-1], "WorkRevoked", "RunCompleted"), id="revoked"),
        pytest.param("run-1", "mended-1", CUT, id="cut"),
        pytest.param("cancelled-1", "plain-1", (*CUT[:3], "BuildFailed:timeout", *CUT[3:]), id="failed-as-well"),
        pytest.param("cancelled-1", "plain-1", MENDED, id="too-much-of-what-was-cancelled"),
        pytest.param("refused-1", "plain-1", ("RunRequested", "RunFailed"), id="admitted"),
    ],
)
def test_what_is_in_no_script_is_found(run_id: str, phase_id: str, names: Sequence[str]) -> None:
    assert list(scripts.violations(_log(run_id, phase_id, names)))
