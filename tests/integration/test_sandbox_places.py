"""Where a job sees its work folder, and what is lent to it there."""

import os
import sys
from pathlib import Path

import pytest

from services.processes import Ending
from services.sandbox import WORKSPACE, Job, Mount, Sandbox
from support.workers import working_sandbox


@pytest.fixture(params=["bubblewrap", "none"])
async def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return await working_sandbox(request.param)


@pytest.fixture
async def contained() -> Sandbox:
    return await working_sandbox()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def lent(tmp_path: Path) -> Path:
    """A folder with a script and a text."""
    folder = tmp_path / "lent"
    folder.mkdir()
    (folder / "text").write_text("lent\n")
    (folder / "run").write_text('#!/bin/sh\ncat "${0%/*}/text"\n')
    (folder / "run").chmod(0o755)
    return folder


def shell(source: str, work: Path, *mounts: Mount) -> Job:
    return Job(("sh", "-c", source), work, shown_at=WORKSPACE, readonly=mounts)


async def test_a_work_folder_shows_at_its_place_and_where_it_lies_does_not(contained: Sandbox, work: Path):
    done = await contained.run(shell(f"pwd; echo new > file; git init -q && git status; test -e {work}", work))
    assert done.stdout.text.splitlines()[0] == str(WORKSPACE)
    assert done.exit_code == 1
    assert (work / "file").read_text() == "new\n"
    assert (work / "file").stat().st_uid == os.geteuid()


async def test_without_a_sandbox_a_job_sees_its_folder_where_it_lies(work: Path):
    done = await (await working_sandbox("none")).run(shell("pwd", work))
    assert done.stdout.text == f"{work}\n"


async def test_what_is_lent_shows_within_the_work_folder_and_is_gone_afterwards(
    sandbox: Sandbox, work: Path, lent: Path
):
    mounts = Mount(lent, Path("deep/tools")), Mount(lent / "text", Path("deep/file"))
    done = await sandbox.run(shell("cat deep/tools/text deep/file; echo own > deep/own", work, *mounts))
    assert done.stdout.text == "lent\nlent\n"
    assert sorted(path.name for path in work.rglob("*")) == ["deep", "own"]
    done = await sandbox.run(shell("rm deep/own; ls deep", work, *mounts))
    assert done.stdout.text == "file\ntools\n"
    assert [path.name for path in work.iterdir()] == ["deep"]
    (work / "deep").rmdir()
    await sandbox.run(shell("true", work, *mounts))
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("name", ["tools/run", "./tools/run", "tools/../tools/run"])
async def test_a_program_within_what_is_lent_can_be_started(sandbox: Sandbox, work: Path, lent: Path, name: str):
    done = await sandbox.run(Job((name,), work, shown_at=WORKSPACE, readonly=(Mount(lent, Path("tools")),)))
    assert done.stdout.text == "lent\n"


async def test_a_program_of_the_work_folder_can_be_started(sandbox: Sandbox, work: Path):
    (work / "run.sh").write_text("#!/bin/sh\necho ran $1\n")
    (work / "run.sh").chmod(0o755)
    done = await sandbox.run(Job(("./run.sh", "well"), work, shown_at=WORKSPACE))
    assert done.stdout.text == "ran well\n"


async def test_a_program_that_is_not_there_is_named(sandbox: Sandbox, work: Path, lent: Path):
    (work / "plain").write_text("no program")
    for name in ("./absent", "./plain", "tools/absent", "no-such-program"):
        job = Job((name,), work, shown_at=WORKSPACE, readonly=(Mount(lent, Path("tools")),))
        done = await sandbox.run(job)
        assert (done.ending, name in done.reason) == (Ending.FAILED_TO_START, True)
        assert [path.name for path in work.iterdir()] == ["plain"]


async def test_no_program_above_the_work_folder_is_started(contained: Sandbox, work: Path, tmp_path: Path):
    (tmp_path / "run").write_text("#!/bin/sh\necho outside\n")
    (tmp_path / "run").chmod(0o755)
    done = await contained.run(Job(("../run",), work, shown_at=WORKSPACE))
    assert done.ending is Ending.FAILED_TO_START


async def test_what_finds_a_link_or_a_file_in_its_way_is_not_shown_and_nothing_outside_is_touched(
    sandbox: Sandbox, work: Path, lent: Path, tmp_path: Path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (work / "link").symlink_to(outside)
    (work / "up").symlink_to("../outside")
    (work / "file").write_text("own")
    places = ("link/tools", "up/tools", "file/tools", "link", "file")
    mounts = [Mount(lent, Path(place)) for place in places]
    done = await sandbox.run(shell("cat file; test -e link/tools || echo none", work, *mounts))
    assert (done.ending, done.stdout.text) == (Ending.EXITED, "ownnone\n")
    assert list(outside.iterdir()) == []
    assert (work / "file").read_text() == "own"
    assert sorted(path.name for path in work.iterdir()) == ["file", "link", "up"]


async def test_a_link_that_a_job_puts_above_what_was_lent_leads_no_removal_astray(
    sandbox: Sandbox, work: Path, lent: Path, tmp_path: Path
):
    outside = tmp_path / "outside"
    (outside / "tools").mkdir(parents=True)
    source = f"mv deep moved; ln -s {outside} deep"
    await sandbox.run(shell(source, work, Mount(lent, Path("deep/tools"))))
    assert (outside / "tools").is_dir()
    assert (lent / "text").exists()


async def test_the_interpreter_behind_a_lent_environment_shows_and_nothing_else_that_a_link_names(
    contained: Sandbox, work: Path, tmp_path: Path
):
    real = Path(os.path.realpath(sys.executable))
    environment, secret = tmp_path / "environment", tmp_path / "secret" / "bin" / "python-secret"
    (environment / "bin").mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text(f"home = {secret.parent}\n")
    (environment / "bin" / "python").symlink_to(real)
    secret.parent.mkdir(parents=True)
    secret.write_text("#!/bin/sh\necho the secret\n")
    secret.chmod(0o755)
    lent = Mount(environment, Path(".venv"))
    done = await contained.run(shell(f".venv/bin/python -c 'print(1)'; cat {secret}", work, lent))
    assert done.stdout.text == "1\n"
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to(secret)
    done = await contained.run(shell(f"cat {secret} .venv/bin/python", work, lent))
    assert "the secret" not in done.output.text
