import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from services.sandbox import Job
from services.sandbox.uncontained import Uncontained
from support.deep_trees import NESTED, TOO_DEEP_FOR_RECURSION

SERVICE = {"PATH": "/usr/bin:/bin", "AUTOPACK_LOG": "kafka://broker", "MODEL_KEY": "sk-model-key-123"}
DAEMON = "setsid sh -c 'echo $$ > daemon; exec sleep 600' >/dev/null 2>&1 & until test -s daemon; do :; done; "


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Callable[[], bool], deadline_seconds: float = 10) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_daemon_in_a_session_of_its_own_is_found_and_killed(tmp_path: Path):
    done = await Uncontained(SERVICE).run(Job(("sh", "-c", DAEMON + "echo up"), tmp_path))
    assert done.stdout.text == "up\n"
    daemon = int((tmp_path / "daemon").read_text())
    await until(lambda: not is_alive(daemon))


async def test_a_cancelled_job_leaves_no_daemon(tmp_path: Path):
    source = DAEMON + "touch started; sleep 600"
    running = asyncio.create_task(Uncontained(SERVICE).run(Job(("sh", "-c", source), tmp_path)))
    await until((tmp_path / "started").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    daemon = int((tmp_path / "daemon").read_text())
    await until(lambda: not is_alive(daemon))


async def test_a_process_without_the_marker_is_left_alone(tmp_path: Path):
    other = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        await Uncontained(SERVICE).run(Job(("true",), tmp_path))
        assert is_alive(other.pid)
    finally:
        os.kill(other.pid, signal.SIGKILL)
        await other.wait()


async def test_the_environment_is_as_short_as_in_a_sandbox_and_the_home_is_private(tmp_path: Path):
    job = Job(("sh", "-c", "env; touch ~/x; echo home=$HOME"), tmp_path, secrets=("MODEL_KEY",))
    done = await Uncontained(SERVICE).run(job)
    assert "AUTOPACK_LOG" not in done.stdout.text
    assert "MODEL_KEY=[redacted]" in done.stdout.text
    home = Path(done.stdout.text.rpartition("home=")[2].strip())
    assert home != Path.home()
    assert not home.exists()


async def test_a_private_home_goes_however_deep_it_is(tmp_path: Path):
    job = Job(("sh", "-c", NESTED + f"mkdir -p ~/$(d {TOO_DEEP_FOR_RECURSION}); echo $HOME"), tmp_path)
    done = await Uncontained(SERVICE).run(job)
    assert not Path(done.stdout.text.strip()).exists()
