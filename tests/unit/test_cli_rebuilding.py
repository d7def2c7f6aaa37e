"""What `projections rebuild` tells of projections that cannot be made again."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from projections.catalogue import PROJECTIONS
from projections.folding import ProjectionStopped
from projections.projection import Projection
from projections.rebuild import Rebuilt
from projections.run_files.keeper import FilesStopped
from projections.runs import RUNS
from services.cli import commands_of_operations
from services.cli.app import exit_code_of
from services.cli.store import Store
from services.settings import Settings


def test_what_cannot_be_made_again_is_told_of_beside_what_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOPACK_HOME", str(tmp_path / "home"))

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[Store]:
        yield cast(Store, SimpleNamespace(servers=None, pool=None, log=None))

    asked: list[dict[str, object]] = []
    helping = [object()]

    async def stops(_: object, __: object, projection: Projection[Any], **named: object) -> Rebuilt:
        asked.append(named)
        if projection is RUNS:
            raise ProjectionStopped(RUNS, 17, "no such thing")
        return Rebuilt(projection.name, 1, 5, 1, 0, comparable=True, replaced=True)

    async def no_files(*_: object) -> Rebuilt:
        raise FilesStopped("the folder is full")

    monkeypatch.setattr(commands_of_operations, "opened_store", opened)
    monkeypatch.setattr(commands_of_operations, "rebuild", stops)
    monkeypatch.setattr(commands_of_operations, "helpers", lambda *_: helping)
    monkeypatch.setattr(commands_of_operations, "_rebuilt_files", no_files)
    assert exit_code_of(["projections", "rebuild", "--json"]) == 1
    assert asked == [{"helpers": helping}] * len(PROJECTIONS)
    out, err = capsys.readouterr()
    others = [projection.name for projection in PROJECTIONS if projection is not RUNS]
    assert [one["projection"] for one in json.loads(out)["projections"]] == others
    assert f"runs was not made again: {RUNS.table} stops at offset 17: no such thing; " in err
    assert f"the folder is full; what was served differed: {', '.join(others)}" in err
