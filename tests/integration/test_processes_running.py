import asyncio
import contextlib
import os
import signal
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from services.processes import Command, Ending, run
from support.heartbeat import Heartbeat

PATH = "/usr/bin:/bin"


def python(source: str, folder: Path, **options: object) -> Command:
    argv = (sys.executable, "-u", "-c", source)
    return Command(argv, folder, {"PATH": PATH}, **options)


def shell(source: str, folder: Path, **options: object) -> Command:
    argv = ("/bin/sh", "-c", source)
    return Command(argv, folder, {"PATH": PATH}, **options)


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(condition: Callable[[], bool], deadline_seconds: float = 10) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def wait_for_file(path: Path) -> str:
    await until(lambda: path.exists() and bool(path.read_text().strip()))
    return path.read_text()


async def wait_until_dead(pid: int) -> None:
    await until(lambda: not is_alive(pid))


async def test_a_child_gets_its_input_and_its_streams_are_kept_apart(tmp_path: Path):
    done = await run(shell("cat; echo bad >&2; exit 3", tmp_path, stdin=b"hello\n"))
    assert (done.ending, done.exit_code, done.reason) == (Ending.EXITED, 3, "exited with code 3")
    assert (done.stdout.data, done.stderr.data) == (b"hello\n", b"bad\n")
    assert sorted(done.output.data.splitlines()) == [b"bad", b"hello"]
    assert not done.succeeded
    assert done.duration_seconds > 0


async def test_nothing_of_our_environment_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AUTOPACK_LOG", "postgresql://secret")
    done = await run(Command(("/usr/bin/env",), tmp_path, {"ONLY": "this"}))
    assert done.stdout.data == b"ONLY=this\n"


async def test_a_flood_of_200_megabytes_costs_neither_memory_nor_time(tmp_path: Path):
    lines: list[str] = []
    source = "import os\nblock = b'0123456789abcde\\n' * 65536\nfor _ in range(200): os.write(1, block)"
    command = python(source, tmp_path, on_line=lines.append, secrets=("never-there", "nor-this-one"))
    tracemalloc.start()
    async with Heartbeat() as heart:
        done = await run(command)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.succeeded
    assert done.stdout.total_bytes == 200 << 20
    assert len(done.stdout.data) < 1.1 * (1 << 20)
    assert done.stdout.data.startswith(b"0123456789abcde\n")
    assert done.stdout.data.endswith(b"0123456789abcde\n")
    assert f"[{done.stdout.left_out_bytes} bytes left out]".encode() in done.stdout.data
    assert 0 < len(lines) < 400_000
    assert peak_bytes < 60 << 20
    assert done.duration_seconds < 60
    assert heart.longest_work_seconds < 1
    assert heart.longest_pause_seconds < 15


async def test_a_single_line_of_three_megabytes_is_taken_whole(tmp_path: Path):
    done = await run(python("print('x' * 3_000_000)", tmp_path, output_cap_bytes=4 << 20))
    assert done.stdout.complete
    assert len(done.stdout.data) == 3_000_001


async def test_a_hanging_child_is_killed_at_its_limit(tmp_path: Path):
    done = await run(shell("echo begun; sleep 600", tmp_path, limit_seconds=3))
    assert done.ending is Ending.TIMED_OUT
    assert done.reason == "ran longer than 3 s"
    assert done.stdout.data == b"begun\n"
    assert done.duration_seconds < 10


async def test_a_silent_child_is_killed_while_a_talking_one_goes_on(tmp_path: Path):
    talking = "for i in $(seq 16); do echo $i; sleep 0.25; done"
    assert (await run(shell(talking, tmp_path, idle_seconds=3))).succeeded
    silent = await run(shell("echo begun; sleep 600", tmp_path, idle_seconds=0.5))
    assert silent.ending is Ending.IDLE
    assert silent.duration_seconds < 10


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path):
    source = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    done = await run(shell(source, tmp_path, limit_seconds=3, grace_seconds=0.5))
    assert done.ending is Ending.TIMED_OUT
    assert done.exit_code == -signal.SIGKILL
    assert not is_alive(int((tmp_path / "pid").read_text()))


async def test_a_stopped_child_that_answers_with_zero_is_still_stopped(tmp_path: Path):
    stop = asyncio.Event()
    source = "trap 'echo used 12 tokens; exit 0' TERM; echo $$ > pid; while :; do sleep 0.05; done"
    running = asyncio.create_task(run(shell(source, tmp_path), stop))
    await wait_for_file(tmp_path / "pid")
    stop.set()
    done = await running
    assert (done.ending, done.exit_code) == (Ending.STOPPED, 0)
    assert done.stdout.data == b"used 12 tokens\n"
    assert not done.succeeded


async def test_cancelling_the_task_leaves_no_process(tmp_path: Path):
    source = "trap '' TERM; sleep 600 & echo $! $$ > pids; wait"
    running = asyncio.create_task(run(shell(source, tmp_path, grace_seconds=0.3)))
    pids = [int(pid) for pid in (await wait_for_file(tmp_path / "pids")).split()]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for pid in pids:
        await wait_until_dead(pid)


async def test_cancelling_twice_still_reaps_the_child(tmp_path: Path):
    source = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done"
    running = asyncio.create_task(run(shell(source, tmp_path, grace_seconds=0.5)))
    pid = int(await wait_for_file(tmp_path / "pid"))
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{pid}").exists()


async def test_a_missing_executable_and_a_missing_folder_are_named(tmp_path: Path):
    missing = await run(Command(("/opt/no-such-agent",), tmp_path, {}))
    assert missing.ending is Ending.FAILED_TO_START
    assert missing.reason == "no such executable: /opt/no-such-agent"
    nowhere = await run(Command(("/bin/true",), tmp_path / "gone", {}))
    assert nowhere.reason == f"the folder {tmp_path / 'gone'} does not exist"
    forbidden = await run(Command((str(tmp_path),), tmp_path, {}))
    assert forbidden.reason == f"not allowed to execute {tmp_path}"


async def test_a_daemon_that_keeps_the_pipes_open_does_not_hold_us_up(tmp_path: Path):
    source = "echo here; setsid sh -c 'echo $$ > daemon; exec sleep 600' & while ! test -s daemon; do :; done"
    done = await run(shell(source, tmp_path))
    daemon = int((tmp_path / "daemon").read_text())
    try:
        assert done.succeeded
        assert done.stdout.data == b"here\n"
        assert done.duration_seconds < 10
    finally:
        os.kill(daemon, signal.SIGKILL)


async def test_children_left_in_the_group_are_killed_when_their_leader_exits(tmp_path: Path):
    done = await run(shell("sleep 600 >/dev/null 2>&1 & echo $! > pid", tmp_path))
    assert done.succeeded
    await wait_until_dead(int((tmp_path / "pid").read_text()))


async def test_a_secret_that_straddles_two_writes_reaches_neither_output_nor_watcher(tmp_path: Path):
    lines: list[str] = []
    source = (
        "import os, time\nos.write(1, b'token=hunt')\ntime.sleep(0.2)\nos.write(1, b'er22.\\n')\n"
        "os.write(2, b'hunter22')"
    )
    done = await run(python(source, tmp_path, secrets=("hunter22",), on_line=lines.append))
    assert done.stdout.data == b"token=[redacted].\n"
    assert done.stderr.data == b"[redacted]"
    assert b"hunter22" not in done.output.data
    assert sorted(lines) == ["[redacted]", "token=[redacted]."]


async def test_a_child_that_never_reads_a_large_input_does_not_hold_us_up(tmp_path: Path):
    done = await run(shell("exit 0", tmp_path, stdin=b"x" * (8 << 20)))
    assert done.succeeded


async def test_lines_reach_the_watcher_while_the_child_runs(tmp_path: Path):
    stop = asyncio.Event()
    lines: list[str] = []

    def watch(line: str) -> None:
        lines.append(line)
        if line == "three":
            stop.set()

    source = "printf 'one\\ntw'; sleep 0.1; printf 'o\\r\\nthree\\n'; sleep 600"
    done = await run(shell(source, tmp_path, on_line=watch, limit_seconds=30), stop)
    assert done.ending is Ending.STOPPED
    assert lines == ["one", "two", "three"]


async def test_stdin_can_be_opened_by_its_name_more_than_once(tmp_path: Path):
    done = await run(shell("cat /dev/stdin; cat /dev/stdin", tmp_path, stdin=b"hello\n"))
    assert done.stdout.text == "hello\nhello\n"
