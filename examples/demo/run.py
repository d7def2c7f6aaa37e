"""The demo: a whole autonomous build of a small real repository, on the embedded default, live on the terminal.

Everything that it makes is under `.demo/`; run again, it starts afresh.
"""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from services.embedded.layout import Layout
from services.embedded.locks import is_held_exclusively
from services.sandbox import probe

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEMO = Path(".demo")
RUN_ID = "demo"
BRANCH = f"autonomous/{RUN_ID}"
AUTOPACK = Path(sys.executable).parent / "autopack"
STOPPING_SECONDS = 20.0
NOT_SET_UP = 2


def main() -> int:
    """Set up, run, and say where to look further; the exit code of the run."""
    os.chdir(ROOT)
    with open(__file__) as own_file:
        if not alone(own_file.fileno()) or not emptied(DEMO):
            print("Another demo is running here: end it first.", file=sys.stderr)
            return NOT_SET_UP
        return build()


def alone(descriptor: int) -> bool:
    """Take the lock on an open file, held as long as it is open; False where another demo holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def build() -> int:
    """The demo itself."""
    make_repository(DEMO / "repo")
    write_agents(DEMO / "home" / "agents.toml")
    environment = demo_environment(os.environ)
    if environment is None:
        return NOT_SET_UP
    began = time.monotonic()
    exit_code = follow_run(environment)
    if exit_code == 0:
        show_results(time.monotonic() - began)
    return exit_code


def emptied(folder: Path) -> bool:
    """Remove what an earlier demo left, once its server has stopped; False where that goes on."""
    deadline = time.monotonic() + STOPPING_SECONDS
    layout = Layout.under((folder / "home").absolute())
    while layout.keeper.exists() and is_held_exclusively(layout.keeper):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


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


def demo_environment(own: Mapping[str, str]) -> dict[str, str] | None:
    """The environment of the run: the embedded default, whatever is configured; None where it must not run."""
    environment = {name: value for name, value in own.items() if not name.startswith(("AUTOPACK_", "AUTONOMOUS_"))}
    environment["AUTOPACK_HOME"] = str((DEMO / "home").absolute())
    # The checks call `python3`: that of the clone is at least as new as Autopack needs.
    environment["PATH"] = f"{AUTOPACK.parent}:{own.get('PATH', os.defpath)}"
    tried = asyncio.run(probe(environment))
    if tried.works:
        return environment
    print(f"No sandbox works on this machine: {tried.reason}.")
    if own.get("AUTOPACK_TEST_REQUIRE") == "all":
        return None
    print("The demo goes on without one: its own agents are harmless. Do not do this with real agents.\n")
    return {**environment, "AUTOPACK_ALLOW_UNSANDBOXED": "1"}


def follow_run(environment: Mapping[str, str]) -> int:
    """Run the plan in the foreground; Ctrl-C goes to the command alone, which cancels the run."""
    signal.signal(signal.SIGINT, lambda *_: None)
    command = [str(AUTOPACK), "run", str(HERE / "plan.toml"), "--repo", str(DEMO / "repo")]
    with subprocess.Popen(command, env=environment) as process:
        return process.wait()


def show_results(elapsed_seconds: float) -> None:
    """Say how to look at what there is now."""
    ahead = git(DEMO / "repo", "rev-list", "--count", f"main..{BRANCH}").strip()
    command = AUTOPACK.relative_to(ROOT) if AUTOPACK.is_relative_to(ROOT) else AUTOPACK
    print(
        f"\nAll of it took {elapsed_seconds:.0f} s. {BRANCH} is {ahead} commits ahead of main, which is as it was."
    )
    print(f"""Look further:
  git -C {DEMO}/repo log --oneline {BRANCH}
  git -C {DEMO}/repo diff main {BRANCH}
  export AUTOPACK_HOME={DEMO}/home
  {command} report {RUN_ID}          # what happened, phase by phase
  {command} events {RUN_ID}          # every event of it
  {command} audit verify {RUN_ID}    # whether that history is whole""")


if __name__ == "__main__":
    sys.exit(main())
