"""Integration at a target that somebody works in, or where killed processes left their traces."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.git import command, reference_writing
from services.git.child import GitOutput
from services.git.command import GitCommand, GitSettings, Place
from services.git.failures import GitFailed, ReferenceLocked
from services.git.fence import Claim
from services.git.integration import Integrated, TargetUnreachable, integrate
from services.git.local_target import LocalTarget
from services.git.reference_writing import write_references
from services.locks import locked
from support.repositories import added, git, make_bench, write

BRANCH = "refs/heads/autonomous/shop-1"
SLOW_GIT = """\
#!/bin/sh
cat >"{read}"
touch "{begun}"
until [ -e "{go}" ]; do sleep 0.02; done
git "$@" <"{read}"
"""


def work(repository: Path) -> dict[str, object]:
    """What a user would notice: HEAD, the index's bytes, every file, the status."""
    files = {path for path in repository.rglob("*") if path.is_file() and ".git" not in path.parts}
    return {
        "HEAD": (repository / ".git" / "HEAD").read_bytes(),
        "index": (repository / ".git" / "index").read_bytes(),
        "files": {str(path): path.read_bytes() for path in files},
        "status": git(repository, "--no-optional-locks", "status", "--porcelain"),
        "stash": git(repository, "stash", "list"),
    }


async def test_a_dirty_checkout_is_untouched(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    write(bench.repository, {"src/cart.py": "half done\n", "untracked": "x"})
    git(bench.repository, "add", "src/cart.py")
    write(bench.repository, {"src/cart.py": "half done, and more\n"})
    before = work(bench.repository)
    assert isinstance(await integrate(bench.mirror, bench.order((await added(bench)).commit)), Integrated)
    assert work(bench.repository) == before


async def test_a_checked_out_integration_branch_moves_under_an_untouched_work_tree(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    first = await added(bench)
    await integrate(bench.mirror, bench.order(first.commit))
    git(bench.repository, "checkout", "--quiet", "autonomous/shop-1")
    before = work(bench.repository)
    second = await added(bench, "b", first.commit, phase_id="P2")
    order = bench.order(second.commit, first.commit, Claim("claim-2", "request-2"), phase_id="P2")
    assert isinstance(await integrate(bench.mirror, order), Integrated)
    after = work(bench.repository)
    assert {**after, "status": None} == {**before, "status": None}


async def test_a_lock_of_a_dead_writer_of_ours_is_removed(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    candidate = await added(bench)
    write(bench.mirror.intents, {"left-by-a-killed-process": ""})
    write(bench.repository / ".git", {f"{BRANCH}.lock": ""})
    assert isinstance(await integrate(bench.mirror, bench.order(candidate.commit)), Integrated)


async def test_a_lock_is_left_alone_while_a_writer_of_ours_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_writing, "_ALONE_LIMIT_SECONDS", 0.05)
    hurried = [option.replace("Timeout=10000", "Timeout=500") for option in command.OVERRIDES]
    monkeypatch.setattr(command, "OVERRIDES", tuple(hurried))
    bench = await make_bench(tmp_path)
    place, lock = Place(git_dir=bench.repository / ".git"), bench.repository / ".git" / f"{BRANCH}.lock"
    write(bench.mirror.intents, {"of-one-that-was-killed-or-not": ""})
    write(lock.parent, {lock.name: ""})
    async with locked(bench.mirror.writer_lock, shared=True):
        with pytest.raises(ReferenceLocked):
            await write_references(bench.mirror, place, f"update {BRANCH} {bench.base}\n")
    assert lock.exists()
    await write_references(bench.mirror, place, f"update {BRANCH} {bench.base}\n")
    assert git(bench.repository, "rev-parse", BRANCH) == bench.base


async def test_what_cannot_be_sent_leaves_no_lock_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim at the fence is on its way meanwhile: a git that is killed there leaves its lock to the user."""
    bench = await make_bench(tmp_path)
    candidate = await added(bench)
    update_is_on_its_way = asyncio.Event()
    run = GitCommand.run

    async def noted(git: GitCommand, place: Place, *arguments: str, **options: Any) -> GitOutput:
        if arguments[0] == "update-ref":
            update_is_on_its_way.set()
        return await run(git, place, *arguments, **options)

    async def refused(target: LocalTarget, commit: str, known: str | None) -> None:
        await update_is_on_its_way.wait()
        raise GitFailed(("unpack-objects",), 1, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(GitCommand, "run", noted)
        patch.setattr(LocalTarget, "send_objects", refused)
        outcome = await integrate(bench.mirror, bench.order(candidate.commit))
    assert isinstance(outcome, TargetUnreachable)
    assert "no space left" in outcome.detail
    assert [*bench.repository.rglob("*.lock"), *bench.mirror.intents.iterdir()] == []
    assert isinstance(await integrate(bench.mirror, bench.order(candidate.commit)), Integrated)


async def test_work_that_is_given_up_while_it_writes_leaves_neither_lock_nor_intent(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    begun, go, slow = tmp_path / "begun", tmp_path / "go", tmp_path / "slow-git"
    slow.write_text(SLOW_GIT.format(read=tmp_path / "read", begun=begun, go=go))
    slow.chmod(0o755)
    mirror = replace(bench.mirror, git=GitCommand(GitSettings(executable=str(slow))))
    place = Place(git_dir=bench.repository / ".git")
    writing = asyncio.create_task(write_references(mirror, place, f"update {BRANCH} {bench.base}\n"))
    while not begun.exists() and not writing.done():
        await asyncio.sleep(0.01)
    for _ in range(2):
        writing.cancel()
        await asyncio.sleep(0.01)
    go.touch()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert [*bench.repository.rglob("*.lock"), *mirror.intents.iterdir()] == []
    assert git(bench.repository, "rev-parse", BRANCH) == bench.base


@pytest.mark.parametrize("limit_seconds", [900.0, 6.0], ids=["given up", "overdue"])
async def test_a_push_that_comes_to_no_end_leaves_no_lock_at_a_target_on_this_machine(
    tmp_path: Path, limit_seconds: float
) -> None:
    bench = await make_bench(tmp_path, f"file://{tmp_path}/repository")
    candidate = await added(bench)
    begun, hook = tmp_path / "begun", bench.repository / ".git" / "hooks" / "reference-transaction"
    write(hook.parent, {hook.name: f'#!/bin/sh\n[ "$1" = prepared ] || exit 0\ntouch "{begun}"\nexec sleep 300\n'})
    hook.chmod(0o755)
    git(bench.repository, "config", "core.hooksPath", str(hook.parent))
    impatient = replace(bench.mirror, git=GitCommand(GitSettings(fetch_limit_seconds=limit_seconds)))
    pushing = asyncio.create_task(integrate(impatient, bench.order(candidate.commit)))
    while not begun.exists() and not pushing.done():
        await asyncio.sleep(0.01)
    assert [*bench.repository.rglob("*.lock")] != []
    if limit_seconds > 100:
        pushing.cancel()
    (outcome,) = await asyncio.gather(pushing, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError | TargetUnreachable)
    assert [*bench.repository.rglob("*.lock")] == []
    hook.unlink()
    assert isinstance(await integrate(bench.mirror, bench.order(candidate.commit)), Integrated)


async def test_a_lock_of_somebody_else_is_respected(tmp_path: Path) -> None:
    bench = await make_bench(tmp_path)
    candidate = await added(bench)
    lock = bench.repository / ".git" / f"{BRANCH}.lock"
    write(bench.repository / ".git", {f"{BRANCH}.lock": ""})
    outcome = await integrate(bench.mirror, bench.order(candidate.commit))
    assert isinstance(outcome, TargetUnreachable)
    assert lock.exists()
    lock.unlink()
    assert isinstance(await integrate(bench.mirror, bench.order(candidate.commit)), Integrated)


async def test_a_killed_integration_leaves_nothing_that_blocks_the_next(tmp_path: Path) -> None:
    """Killed at many moments, with SIGKILL, process group and all."""
    bench = await make_bench(tmp_path)
    root, repository = tmp_path / "mirrors", bench.repository
    for number in range(12):
        name = f"run-{number}"
        candidate = await added(bench, name, run_id=name)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", INTEGRATE, str(root), str(repository), name, candidate.commit),
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
        await asyncio.sleep(number * 0.004)  # not a wait for something: the moment of death
        child.kill()
        await child.wait()
        order = bench.order(candidate.commit, None, Claim("claim-2", "request-1", ("claim-1",)), run_id=name)
        assert isinstance(await integrate(bench.mirror, order), Integrated)
    git(repository, "fsck", "--strict")
    assert list(repository.glob(".git/**/*.lock")) == []


INTEGRATE = """
import asyncio, sys
from pathlib import Path
from services.git.command import GitCommand
from services.git.fence import Claim, Fence
from services.git.integration import Integration, integrate
from services.git.mirror import open_mirror
async def main():
    root, repository, run_id, commit = sys.argv[1:]
    mirror = await open_mirror(GitCommand(), Path(root), repository)
    print("ready", flush=True)
    await integrate(mirror, Integration(run_id, "T1", "P1", commit, None, Claim("claim-1", "request-1")))
asyncio.run(main())
"""
