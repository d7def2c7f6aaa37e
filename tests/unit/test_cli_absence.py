"""What is said of an artifact that is not there."""

from datetime import UTC, datetime
from pathlib import Path
from time import time

import pytest

from services.artifacts import DAY_SECONDS, ArtifactMissing
from services.cli.absence import absence
from services.settings import Settings

MISSING = ArtifactMissing("sha256:" + "0" * 64)


def ago(days: float) -> datetime:
    return datetime.fromtimestamp(time() - days * DAY_SECONDS, UTC)


def test_of_a_run_that_ended_long_ago_it_is_said_that_it_is_not_kept(tmp_path: Path) -> None:
    ended_at = ago(31)
    said = absence(Settings(home=tmp_path, artifact_days=30), MISSING, ended_at)
    assert said.startswith(f"not kept any more: the run ended on {ended_at:%Y-%m-%d}")
    assert "for 30 days" in said


@pytest.mark.parametrize("ended_at", [None, ago(29)])
def test_of_any_other_run_it_is_said_that_it_is_missing_and_where_to_look(
    ended_at: datetime | None, tmp_path: Path
) -> None:
    said = absence(Settings(home=tmp_path, artifact_days=30), MISSING, ended_at)
    assert MISSING.digest in said
    assert "AUTOPACK_ARTIFACTS" in said
