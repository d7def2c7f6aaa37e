"""Failpoints: each stands where its table says, dies as often as it is armed for, and costs nothing unarmed."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from timeit import repeat

import pytest
from pydantic import ValidationError

from events.failpoints import FAILPOINTS, FailpointUnknown, arm, failpoint
from services.compose import Service
from services.settings import Settings

ROOT = Path(__file__).parents[2]
CALL = re.compile(r"""(?<!def )\bfailpoint\((.*?)\)""")
DIES = """
import sys
from pathlib import Path
from events.failpoints import arm, failpoint
arm(sys.argv[2:], Path(sys.argv[1]))
failpoint("claimed")
failpoint("decided")
print("alive")
"""

DIES_LATER = """
import sys
from pathlib import Path
from events.failpoints import arm, failpoint
arm(sys.argv[2:], Path(sys.argv[1]))
for passed in ("once", "twice", "thrice"):
    failpoint("decided")
    print(passed, flush=True)
"""


def _calls() -> Counter[tuple[str, str]]:
    """The arguments of all calls in the product, each with its module."""
    files = [file for package in ("events", "projections", "services") for file in (ROOT / package).rglob("*.py")]
    return Counter(
        (argument, str(file.relative_to(ROOT)))
        for file in files
        for argument in CALL.findall(file.read_text("utf-8"))
    )


def test_every_name_of_the_table_stands_in_the_code_exactly_once_and_no_other_does() -> None:
    assert _calls() == Counter((f'"{point.name}"', point.module) for point in FAILPOINTS)


def test_the_table_names_each_point_once_and_services_that_there_are() -> None:
    assert len({point.name for point in FAILPOINTS}) == len(FAILPOINTS)
    assert {service for point in FAILPOINTS for service in point.services} == {str(one) for one in Service}


def _run(folder: Path, *names: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", DIES, str(folder), *names]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)


def test_a_process_dies_at_a_point_as_often_as_it_is_named_and_then_lets_pass(tmp_path: Path) -> None:
    ends = [_run(tmp_path / "deaths", "decided", "decided", "claimed") for _ in range(4)]
    assert [end.returncode for end in ends] == [-signal.SIGKILL] * 3 + [0]
    assert ends[-1].stdout == b"alive\n"
    assert sorted(file.name for file in (tmp_path / "deaths").iterdir()) == ["claimed.1", "decided.1", "decided.2"]


@pytest.mark.parametrize(
    ("name", "before_the_end"), [("decided@1", []), ("decided@3", ["once", "twice"]), ("decided@4", None)]
)
def test_a_process_lets_as_many_passes_go_by_as_are_asked_for(
    name: str, before_the_end: list[str] | None, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DIES_LATER, str(tmp_path / "deaths"), name]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    dies = before_the_end is not None
    assert ended.returncode == (-signal.SIGKILL if dies else 0)
    assert ended.stdout.split() == (before_the_end if dies else ["once", "twice", "thrice"])
    assert [file.name for file in (tmp_path / "deaths").iterdir()] == ([f"{name}.1"] if dies else [])


@pytest.mark.parametrize("name", ["decided@0", "decided@", "decided@two", "decided@1@2", "decided:stop@2"])
def test_a_pass_that_is_no_number_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FailpointUnknown, match=r"is no failpoint.*numbers of passes from 1 on"):
        arm([name], tmp_path)


def test_a_process_stops_at_a_point_and_goes_on_from_there_when_it_is_continued(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES, str(tmp_path / "stops"), "decided:stop"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status
        assert [file.name for file in (tmp_path / "stops").iterdir()] == ["decided:stop.1"]
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == b"alive\n"


def test_a_process_that_is_not_armed_passes_every_point_at_no_cost(tmp_path: Path) -> None:
    arm((), tmp_path)
    passes = 10_000
    best_seconds = min(repeat(lambda: failpoint("decided"), number=passes, repeat=20)) / passes
    assert best_seconds < 1e-6


def test_an_unknown_point_is_refused_with_the_names_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(FailpointUnknown, match="'decidet' is no failpoint; there are fenced, "):
        arm(["decidet"], tmp_path)
    with pytest.raises(ValidationError, match="'decidet' is no failpoint"):
        Settings.model_validate({"failpoints": "claimed,decidet", "failpoints_folder": tmp_path})


def test_points_without_a_folder_for_their_records_are_refused() -> None:
    with pytest.raises(ValidationError, match="needed with AUTOPACK_FAILPOINTS"):
        Settings.model_validate({"failpoints": "claimed, decided"})
