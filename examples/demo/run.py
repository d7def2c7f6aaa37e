"""The demo: a whole autonomous build of a small real repository, on the embedded default, live on the terminal.

Everything that it makes is under `.demo/`, or a folder that is named; run again, it starts afresh.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEFAULT_FOLDER = ".demo"
RUN_ID = "demo"
BRANCH = f"autonomous/{RUN_ID}"
AUTOPACK = Path(sys.executable).parent / "autopack"
STOPPING_SECONDS = 20.0
NOT_SET_UP = 2
INTERRUPTED = 130
PR_SET_PDEATHSIG = 1


def main(folder: Path) -> int:
    """Set up, run, and say where to look further; the exit code of the run."""
    with alone(folder) as is_alone:
        if not is_alone:
            return refuse(folder, folder.absolute().parent)
        in_the_way = emptied(folder)
        return build(folder) if in_the_way is None else refuse(folder, in_the_way)


def refuse(folder: Path, locked_path: Path) -> int:
    """Say that another demo runs, and in which process."""
    pid = holder_of(locked_path)
    process = "" if pid is None else f" (process {pid})"
    print(f"Another demo is running in {folder}{process}: end it first.", file=sys.stderr)
    return NOT_SET_UP


def holder_of(locked_path: Path) -> int | None:
    """The process that took the lock on a path; None where the system does not tell, as only Linux does."""
    try:
        inode = locked_path.stat().st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return None
    # 1: FLOCK  ADVISORY  WRITE 4711 08:01:132 0 EOF
    held = (fields for fields in locks if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"))
    return next((int(fields[4]) for fields in held), None)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Hold the lock on a demo's folder; False where another demo holds it."""
    # On the folder above, since the folder itself is removed; no file is needed for it.
    descriptor = os.open(folder.absolute().parent, os.O_RDONLY)
    try:
        yield locked(descriptor)
    finally:
        os.close(descriptor)


def locked(descriptor: int) -> bool:
    """Take the lock, held as long as it is open; False where another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def build(folder: Path) -> int:
    """Make what the demo needs, and run it."""
    make_repository(folder / "repo")
    write_agents(folder / "home" / "agents.toml")
    environment = demo_environment(folder / "home", os.environ)
    if environment is None:
        return NOT_SET_UP
    began = time.monotonic()
    exit_code = follow_run(folder / "repo", environment)
    if exit_code == 0:
        show_results(folder, time.monotonic() - began)
    return exit_code


def emptied(folder: Path) -> Path | None:
    """Remove what an earlier demo left, once its server has stopped; what is in the way where that goes on."""
    # Here and below: what takes long to import is imported where Ctrl-C is answered.
    from services.embedded.layout import Layout
    from services.embedded.locks import is_held_exclusively

    deadline = time.monotonic() + STOPPING_SECONDS
    layout = Layout.under((folder / "home").absolute())
    while layout.keeper.exists() and is_held_exclusively(layout.keeper):
        if time.monotonic() > deadline:
            return layout.keeper
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    return folder if folder.exists() else None


def make_repository(folder: Path) -> None:
    """Make the repository that is worked on, with one commit on main."""
    shutil.copytree(HERE / "repository", folder, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=Add and show amounts of money")


def git(folder: Path, *arguments: str) -> str:
    """Call git on the demo's repository, without anybody's own configuration; what it prints."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    identity = ("-c", "user.name=Autopack demo", "-c", "user.email=demo@autopack.invalid")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_agents(file: Path) -> None:
    """Configure the two scripted agents as an operator would."""
    python = json.dumps(sys.executable)
    builder, changes, auditor = (json.dumps(str(HERE / name)) for name in ("builder.py", "changes", "auditor.py"))
    file.parent.mkdir(parents=True)
    file.write_text(
        f'[defaults]\nbuilder = "scripted"\nauditor = "scripted"\n\n'
        f'[builder.scripted]\nkind = "command"\nargv = [{python}, {builder}, {changes}]\ntimeout_seconds = 60\n\n'
        f'[auditor.scripted]\nkind = "command"\nargv = [{python}, {auditor}]\ntimeout_seconds = 60\n'
    )


def demo_environment(home: Path, own: Mapping[str, str]) -> dict[str, str] | None:
    """The environment of the run: the embedded default, whatever is configured; None where it must not run."""
    import asyncio

    from services.sandbox import probe

    environment = {name: value for name, value in own.items() if not name.startswith(("AUTOPACK_", "AUTONOMOUS_"))}
    environment["AUTOPACK_HOME"] = str(home.absolute())
    # The checks call `python3`: that of the clone is at least as new as Autopack needs.
    environment["PATH"] = f"{AUTOPACK.parent}:{own.get('PATH', os.defpath)}"
    tried = asyncio.run(probe(environment))
    if tried.works:
        return environment
    print(f"No sandbox works on this machine: {tried.reason}.", flush=True)
    if own.get("AUTOPACK_TEST_REQUIRE") == "all":
        print("AUTOPACK_TEST_REQUIRE=all forbids to go on without one.", file=sys.stderr)
        return None
    print(
        "The demo goes on without one: its own agents are harmless. Do not do this with real agents.\n", flush=True
    )
    return {**environment, "AUTOPACK_ALLOW_UNSANDBOXED": "1"}


def follow_run(repository: Path, environment: Mapping[str, str]) -> int:
    """Run the plan in the foreground; Ctrl-C and SIGTERM are passed on to the command, which cancels the run."""
    command = [str(AUTOPACK), "run", str(HERE / "plan.toml"), "--repo", str(repository)]
    # In a group of its own a Ctrl-C of the terminal reaches it once, through here: a second one would mean more.
    with subprocess.Popen(command, env=environment, process_group=0, preexec_fn=ends_with(os.getpid())) as process:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda number, _: process.send_signal(number))
        return process.wait()


def ends_with(parent: int) -> Callable[[], None]:
    """What has a child told to stop when its parent dies, however that dies (on Linux)."""
    library = ctypes.CDLL(None)

    def prepare() -> None:
        if sys.platform == "linux":
            library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(INTERRUPTED)

    return prepare


def show_results(folder: Path, elapsed_seconds: float) -> None:
    """Say how to look at what there is now."""
    repository = folder / "repo"
    ahead = git(repository, "rev-list", "--count", f"main..{BRANCH}").strip()
    here = Path.cwd()
    command = AUTOPACK.relative_to(here) if AUTOPACK.is_relative_to(here) else AUTOPACK
    print(
        f"\nAll of it took {elapsed_seconds:.0f} s. {BRANCH} is {ahead} commits ahead of main, which is as it was."
    )
    print(f"""Look further:
  git -C {repository} log --oneline {BRANCH}
  git -C {repository} diff main {BRANCH}
  export AUTOPACK_HOME={folder.resolve()}/home
  {command} report {RUN_ID}          # what happened, phase by phase
  {command} events {RUN_ID}          # every event of it
  {command} audit verify {RUN_ID}    # whether that history is whole""")


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_FOLDER)))
    except KeyboardInterrupt:
        print("The demo was interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
