import asyncio
import contextlib
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.processes import Command, Ending, run
from services.sandbox import (
    Job,
    Limits,
    Mount,
    Sandbox,
    probe,
    remove_folder,
)
from services.sandbox.contained import Bubblewrap

SERVICE = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "AUTOPACK_LOG": "kafka://broker:9092",
    "AUTOPACK_DATABASE": "postgresql://secret",
    "KAFKA_SASL_PASSWORD": "broker-password",
    "PGPASSWORD": "database-password",
    "MODEL_KEY": "sk-model-key-123",
}


@pytest.fixture
async def sandbox() -> Bubblewrap:
    tried = await probe(SERVICE)
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    return tried.sandbox


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def shell(source: str, folder: Path, **options: object) -> Job:
    return Job(("sh", "-c", source), folder, **options)


async def until(condition: Callable[[], bool], deadline_seconds: float = 10) -> None:
    async with asyncio.timeout(deadline_seconds):
        while not condition():
            await asyncio.sleep(0.02)


def processes_with(word: str) -> list[int]:
    """Find living processes, in whatever namespace, by a word in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal() and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


async def test_the_sandbox_is_named_with_its_version(sandbox: Sandbox):
    assert re.fullmatch(r"bubblewrap \d+\.\d+\.\d+", sandbox.name)


async def test_what_a_job_writes_is_ours_afterwards_and_can_be_removed(sandbox: Sandbox, work: Path):
    (work / "before").write_text("1")
    done = await sandbox.run(
        shell("cat before; mkdir -p a/b; echo new > a/b/file; rm before; chmod 0 a; pwd", work)
    )
    assert done.succeeded
    assert done.stdout.text == f"1{work}\n"
    assert not (work / "before").exists()
    assert (work / "a").stat().st_uid == os.geteuid()
    (work / "a").chmod(0o700)
    assert (work / "a" / "b" / "file").read_text() == "new\n"
    assert (work / "a" / "b" / "file").stat().st_uid == os.geteuid()
    (work / "a").chmod(0)
    remove_folder(work)
    assert not work.exists()


async def test_the_standard_streams_can_be_opened_by_their_names(sandbox: Sandbox, work: Path):
    source = "cat /dev/stdin > /dev/stdout; echo no > /dev/stderr"
    done = await sandbox.run(shell(source, work, stdin=b"hello\n"))
    assert (done.exit_code, done.stdout.text, done.stderr.text) == (0, "hello\n", "no\n")


async def test_of_ours_a_job_holds_nothing_open_and_cannot_write_to_its_input(sandbox: Sandbox, work: Path):
    done = await sandbox.run(shell("ls -l /proc/$$/fd; cat; echo x > /dev/stdin", work, stdin=b"hello\n"))
    assert done.exit_code != 0
    assert done.stdout.text.endswith("\nhello\n")
    held = [line.split(" -> ") for line in done.stdout.text.splitlines() if " -> " in line]
    assert {name.split()[-1] for name, target in held if "socket:" in target} == set()
    assert {name.split()[-1] for name, target in held if "pipe:" in target} == {"1", "2"}
    assert all(name.startswith("lr-x") for name, _ in held if name.split()[-1] not in {"1", "2"})


async def test_git_works_in_the_sandbox_and_on_the_folder_afterwards(sandbox: Sandbox, work: Path):
    source = "git init -q && echo 1 > f && git add f && git commit -qm one && git config --global a.b c && git log"
    done = await sandbox.run(shell(source, work))
    assert done.succeeded, done.output.text
    assert "Author: Autopack agent" in done.stdout.text
    # Without any exception of ours for the owner of the folder.
    environment = {"PATH": SERVICE["PATH"], "HOME": str(work.parent)}
    log = await run(Command(("git", "log", "--oneline"), work, environment))
    assert log.stdout.text.endswith("one\n"), log.stderr.text


async def test_other_folders_of_the_machine_do_not_show(sandbox: Sandbox, work: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    hidden = [
        secret,
        tmp_path / "other",
        Path.home() / ".ssh",
        Path("/root/.bashrc"),
        Path("/etc/shadow"),
        Path("/run/lock"),
    ]
    listing = " ".join(str(path) for path in hidden)
    done = await sandbox.run(
        shell(f"for f in {listing}; do test -e $f && echo $f; done; ls -A /tmp $HOME /run", work)
    )
    shown = done.stdout.text
    assert not [path for path in hidden if f"{path}\n" in shown]
    assert "/tmp:\n" in shown
    assert {name for name in shown.splitlines() if name and ":" not in name} == {tmp_path.parts[2]}


async def test_a_hidden_folder_is_empty_but_for_the_work_folder(tmp_path: Path):
    home = tmp_path / "opt" / "home"
    work = home / "clones" / "one"
    work.mkdir(parents=True)
    (home / "secret").write_text("hidden")
    (tmp_path / "opt" / "shown").write_text("shown")
    tried = await probe(SERVICE, hidden_paths=(home,))
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    job = shell(f"cat {tmp_path}/opt/shown; ls -A {home} {home}/clones", work, readonly_paths=(tmp_path / "opt",))
    done = await tried.sandbox.run(job)
    assert done.stdout.text == f"shown{home}:\nclones\n\n{home}/clones:\none\n"


async def test_the_system_and_what_is_lent_cannot_be_written(sandbox: Sandbox, work: Path, tmp_path: Path):
    lent = tmp_path / "lent"
    lent.mkdir(mode=0o777)
    (lent / "data").write_text("kept")
    targets = f"{lent}/data {lent}/new /usr/bin/new /etc/passwd /new /dev/new"
    source = f"for f in {targets}; do echo x > $f; done; cat {lent}/data"
    done = await sandbox.run(shell(source, work, readonly_paths=(lent,)))
    assert done.stdout.text == "kept"
    assert (lent / "data").read_text() == "kept"
    assert os.listdir(lent) == ["data"]


async def test_small_files_of_the_system_show_as_they_are_when_the_job_begins(work: Path, tmp_path: Path):
    names = ("shown", "other", "gone", "closed")
    shown, other, gone, closed = (tmp_path / "etc" / name for name in names)
    shown.parent.mkdir()
    for file in (shown, other, gone, closed):
        file.write_text("before\n")
    tried = await probe(SERVICE)
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    system = replace(tried.sandbox.system, files=(*tried.sandbox.system.files, shown, other, gone, closed))
    sandbox = replace(tried.sandbox, system=system)
    shown.write_text("now\n")
    gone.unlink()
    closed.chmod(0o640)
    done = await sandbox.run(shell(f"cat {shown}; echo x >> {shown}; ls {shown.parent}", work))
    assert done.stdout.text == "now\nother\nshown\n"
    assert shown.read_text() == "now\n"
    assert Path("/etc/hosts") in system.files


async def test_a_prepared_environment_shows_inside_the_work_folder(sandbox: Sandbox, work: Path, tmp_path: Path):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "tool").write_text("ready")
    done = await sandbox.run(shell("cat .venv/tool", work, readonly=(Mount(prepared, work / ".venv"),)))
    assert done.stdout.text == "ready"


async def test_scratch_space_shared_memory_and_home_can_be_used(sandbox: Sandbox, work: Path):
    uses = "multiprocessing.Lock(); open(os.path.expanduser('~/x'), 'w')"
    shows = "print(tempfile.gettempdir(), getpass.getuser())"
    source = f"import multiprocessing, os, getpass, tempfile; {uses}; {shows}"
    done = await sandbox.run(Job(("python3", "-c", source), work))
    assert done.stdout.text == "/tmp autopack\n", done.output.text


async def test_the_executable_and_its_interpreters_installation_show_wherever_they_lie(
    sandbox: Sandbox, work: Path, tmp_path: Path
):
    script = tmp_path / "agents" / "agent.py"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport json, pydantic\nprint('agent runs')\n")
    script.chmod(0o755)
    assert (await sandbox.run(Job((str(script),), work))).stdout.text == "agent runs\n"
    by_name = await sandbox.run(Job((sys.executable, str(script)), work))
    assert by_name.stdout.text == "agent runs\n", by_name.output.text


async def test_a_missing_executable_is_named(sandbox: Sandbox, work: Path):
    done = await sandbox.run(Job(("no-such-agent", "x"), work))
    assert (done.ending, done.reason) == (Ending.FAILED_TO_START, "no such executable: no-such-agent")


async def test_a_job_that_writes_what_bubblewrap_might_has_failed_by_itself(sandbox: Sandbox, work: Path):
    done = await sandbox.run(shell("echo 'bwrap: x' >&2; exit 1", work))
    assert (done.ending, done.exit_code, done.stderr.text) == (Ending.EXITED, 1, "bwrap: x\n")


async def test_the_environment_is_a_short_list_with_the_secrets_named(sandbox: Sandbox, work: Path):
    job = Job(("env",), work, secrets=("MODEL_KEY",), variables={"AUTOPACK_REQUEST": "/x", "SHOWN": "yes"})
    done = await sandbox.run(job)
    names = {line.partition("=")[0] for line in done.stdout.text.splitlines()}
    assert {"PATH", "HOME", "TMPDIR", "LANG", "MODEL_KEY", "AUTOPACK_REQUEST", "SHOWN"} <= names
    assert {name for name in names if name.startswith(("AUTOPACK_", "KAFKA", "PG"))} == {"AUTOPACK_REQUEST"}
    assert "MODEL_KEY=[redacted]" in done.stdout.text
    assert "sk-model-key-123" not in done.output.text


async def test_secrets_do_not_stand_in_any_command_line(sandbox: Sandbox, work: Path):
    job = shell("touch started; while ! test -e stop; do sleep 0.05; done", work, secrets=("MODEL_KEY",))
    running = asyncio.create_task(sandbox.run(job))
    await until((work / "started").exists)
    assert processes_with("sk-model-key-123") == []
    (work / "stop").write_text("")
    assert (await running).succeeded


@contextlib.contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5); print('connected')"


async def test_the_network_is_reached_only_where_it_is_allowed(sandbox: Sandbox, work: Path):
    with listener() as port:
        argv = ("python3", "-c", CONNECT, str(port))
        allowed = await sandbox.run(Job(argv, work, network=True))
        refused = await sandbox.run(Job(argv, work))
    assert allowed.stdout.text == "connected\n", allowed.output.text
    assert refused.exit_code == 1
    assert "ConnectionRefusedError" in refused.stderr.text or "unreachable" in refused.stderr.text


DAEMON = "setsid sh -c 'setsid sleep 1000.{word} & exec sleep 1000.{word}' >/dev/null 2>&1 & "


async def test_a_double_forked_daemon_is_dead_when_the_job_ends(sandbox: Sandbox, work: Path):
    word = secrets.token_hex(8).translate(str.maketrans("abcdef", "123456"))
    source = (
        DAEMON.format(word=word) + f"until [ $(pgrep -fc '^sleep 1000.{word}') = 2 ]; do sleep 0.02; done; echo up"
    )
    done = await sandbox.run(shell(source, work, limit_seconds=30))
    assert processes_with(f"1000.{word}") == []
    assert done.stdout.text == "up\n"


async def test_a_job_that_ignores_sigterm_is_dead_with_its_daemon_at_the_limit(sandbox: Sandbox, work: Path):
    word = secrets.token_hex(8).translate(str.maketrans("abcdef", "123456"))
    source = "trap '' TERM; " + DAEMON.format(word=word) + "while :; do sleep 0.1; done"
    done = await sandbox.run(shell(source, work, limit_seconds=1, grace_seconds=0.3))
    assert processes_with(f"1000.{word}") == []
    assert done.ending is Ending.TIMED_OUT


async def test_a_stopped_job_may_still_say_what_it_used(sandbox: Sandbox, work: Path):
    stop = asyncio.Event()
    source = "trap 'echo used 7; exit 0' TERM; touch started; while :; do sleep 0.05; done"
    running = asyncio.create_task(sandbox.run(shell(source, work, limit_seconds=120, grace_seconds=60), stop))
    await until((work / "started").exists)
    stop.set()
    done = await running
    assert done.ending is Ending.STOPPED
    assert done.stdout.text == "used 7\n"
    assert done.duration_seconds < 50


async def test_a_cancelled_job_leaves_neither_process_nor_foreign_file(sandbox: Sandbox, work: Path):
    word = secrets.token_hex(8).translate(str.maketrans("abcdef", "123456"))
    source = "trap '' TERM; " + DAEMON.format(word=word) + "touch started; while :; do sleep 0.1; done"
    running = asyncio.create_task(sandbox.run(shell(source, work, grace_seconds=0.2)))
    await until((work / "started").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_with(f"1000.{word}") == []
    assert (work / "started").stat().st_uid == os.geteuid()


SERVICE_TO_KILL = """
import asyncio, sys
from pathlib import Path
from services.sandbox import Job, open_sandbox
async def main():
    sandbox = await open_sandbox({"PATH": "/usr/bin:/bin"})
    await sandbox.run(Job(("sh", "-c", sys.argv[2]), Path(sys.argv[1])))
asyncio.run(main())
"""


async def test_a_service_killed_at_once_takes_its_jobs_with_it(sandbox: Sandbox, work: Path):
    word = secrets.token_hex(8).translate(str.maketrans("abcdef", "123456"))
    source = DAEMON.format(word=word) + "touch started; while :; do sleep 0.1; done"
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE_TO_KILL, str(work), source)
    await until((work / "started").exists, 30)
    service.kill()
    await service.wait()
    await until(lambda: processes_with(f"1000.{word}") == [])


async def test_a_job_cancelled_before_it_has_begun_leaves_nothing(sandbox: Sandbox, work: Path):
    word = secrets.token_hex(8).translate(str.maketrans("abcdef", "123456"))
    for turns in range(0, 40, 4):
        running = asyncio.create_task(sandbox.run(Job(("sleep", f"1000.{word}"), work, grace_seconds=0.1)))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert processes_with(f"1000.{word}") == []
    assert work.stat().st_uid == os.geteuid()


async def test_a_job_that_is_told_to_end_while_its_sandbox_is_being_made_ends_at_once(
    sandbox: Sandbox, work: Path
):
    """At some moments there is a sandbox and no command in it yet that could hear the request."""
    for pause_seconds in [number * 0.002 for number in range(25)]:
        stop = asyncio.Event()
        running = asyncio.create_task(sandbox.run(shell("exec sleep 600", work, grace_seconds=60), stop))
        await asyncio.wait([running], timeout=pause_seconds)
        stop.set()
        done = await asyncio.wait_for(running, 20)
        assert done.ending is Ending.STOPPED


async def test_processes_are_limited_and_counted_for_each_job_alone(work: Path, tmp_path: Path):
    tried = await probe(SERVICE, limits=Limits(processes=40))
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    bomb = shell("for i in $(seq 60); do sleep 8 & done; wait", work)
    harmless = tmp_path / "harmless"
    harmless.mkdir()
    count = shell("for i in $(seq 20); do sleep 1 & done; wait; echo all", harmless)
    bombed, other = await asyncio.gather(tried.sandbox.run(bomb), tried.sandbox.run(count))
    assert "fork" in bombed.stderr.text.lower()
    assert other.stdout.text == "all\n"


async def test_a_file_cannot_grow_past_its_limit(work: Path):
    tried = await probe(SERVICE, limits=Limits(file_size_bytes=1 << 20))
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    done = await tried.sandbox.run(shell("head -c 3000000 /dev/zero > big", work))
    assert not done.succeeded
    assert (work / "big").stat().st_size == 1 << 20


async def test_nobody_in_the_sandbox_is_root(sandbox: Sandbox, work: Path):
    done = await sandbox.run(shell("id -u; grep -h CapEff /proc/*/status | sort -u", work))
    uid, *capabilities = done.stdout.text.split("\n")
    assert int(uid) != 0
    assert [line.split() for line in capabilities if line] == [["CapEff:", "0" * 16]]


async def test_other_processes_of_the_machine_do_not_show(sandbox: Sandbox, work: Path):
    done = await sandbox.run(shell("ls /proc | grep -c '^[0-9]'", work))
    assert int(done.stdout.text) < 10
