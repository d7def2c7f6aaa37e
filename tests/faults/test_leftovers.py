"""What services leave is seen before anybody collects it, and what has a name that stays is not taken for it."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from uuid import uuid4

import pytest

from faults.invariants import machine
from faults.invariants.homes import left_in
from faults.world import World

MIRROR = f"mirrors/{'a' * 32}.git"
STAYING = (
    *("agents.toml", "collected", "ready/builder", ".autonomous_runs/run-1/.manifest.json", f"{MIRROR}/HEAD"),
    *(f"artifacts/blobs/ab/{'c' * 62}", f"{MIRROR}/objects/ab/{'c' * 38}", f"{MIRROR}/refs/bases/{'c' * 40}"),
)
LEFT = (
    *("work/claim/tree/a.py", "scratch/agent-1/request.json", "mirrors/.new-1/HEAD", "prepared/half/tree/a.py"),
    *(f"{MIRROR}/autopack/quarantines/1/index", f"{MIRROR}/refs/heads/main.lock", "unheard-of"),
)
KEPT_A_WHILE = (
    *(f"artifacts/incoming/{'a' * 32}", f"{MIRROR}/autopack/intents/{'a' * 32}"),
    *(f"{MIRROR}/autopack/pin-{'a' * 16}", f"{MIRROR}/objects/ab/tmp_obj_x1"),
    f".autonomous_runs/run-1/.unfinished-{'a' * 16}",
)


@pytest.fixture(autouse=True)
def dying_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DYING_SECONDS", 0.3)


@pytest.fixture
def world(tmp_path: Path) -> World:
    home = tmp_path / "home"
    home.mkdir()
    lying_in(home, STAYING)
    return World("", "", (home,), home, "", (), {}, tmp_path / "starts", f"WORLD_{uuid4().hex}")


def lying_in(home: Path, names: Sequence[str]) -> None:
    for name in names:
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@contextmanager
def running(world: World, name: str = "sleep") -> Iterator[int]:
    """A process of the world's that calls itself by a name."""
    given = {"PATH": os.environ["PATH"], world.marker: "1"}
    with subprocess.Popen([name, "600"], executable="/bin/sleep", env=given) as process:
        try:
            # Only a moment after it has begun the system tells of what it was given.
            while world.marker not in Path(f"/proc/{process.pid}/environ").read_text():
                assert process.poll() is None
                sleep(0.001)
            yield process.pid
        finally:
            process.kill()


async def test_what_stays_is_not_taken_for_what_is_left(world: World) -> None:
    assert await machine.early(world, os.getpid()) == []
    assert machine.read(world).files == []


@pytest.mark.parametrize("name", [*LEFT, *KEPT_A_WHILE])
async def test_whatever_else_lies_in_a_home_in_which_nobody_was_killed_is_left(world: World, name: str) -> None:
    lying_in(world.homes[0], [name])
    assert len(left_in(world.homes[0])) == 1
    assert len(await machine.early(world, os.getpid())) == 1
    assert len(machine.read(world).files) == 1


async def test_of_work_no_more_may_lie_there_than_those_had_in_hand_who_were_killed(world: World) -> None:
    world.killed.append("builder")
    lying_in(world.homes[0], [f"work/{number}/tree" for number in range(machine.AT_ONCE)])
    assert await machine.early(world, os.getpid()) == []
    lying_in(world.homes[0], ["work/one-more/tree"])
    assert await machine.early(world, os.getpid()) == ["5 of work/ are left by 1 that were killed"]
    assert len(machine.read(world).files) == machine.AT_ONCE + 1


@pytest.mark.parametrize("name", KEPT_A_WHILE)
async def test_what_is_kept_for_a_while_is_one_of_a_kind_for_each_kill(world: World, name: str) -> None:
    lying_in(world.homes[0], [name])
    world.killed.append("applier")
    assert machine.read(world).files == []
    other = name[:-1] + "0"
    lying_in(world.homes[0], [other])
    assert len(machine.read(world).files) == 1


async def test_a_process_that_lives_on_is_left_but_for_the_one_that_forks(world: World) -> None:
    with running(world) as pid:
        (told,) = await machine.early(world, os.getpid())
        assert told.startswith(f"process {pid} (sleep 600)")
        assert await machine.early(world, pid) == []
        assert len(machine.read(world).processes) == 1


async def test_a_kill_may_leave_one_sandbox_that_was_not_made_yet(world: World) -> None:
    with running(world, "/usr/bin/bwrap"):
        assert len(await machine.early(world, os.getpid())) == 1
        world.killed.append("builder")
        assert await machine.early(world, os.getpid()) == []
        with running(world, "/usr/bin/bwrap"):
            assert len(await machine.early(world, os.getpid())) == 1
