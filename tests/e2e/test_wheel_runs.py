"""The wheel, installed without the clone, runs a whole build."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support.builds import WRITES_A_FILE, python_agent, repository, request
from support.repositories import git

ROOT = Path(__file__).resolve().parents[2]


def _installed(folder: Path) -> Path:
    """Build the wheel and install it alone, apart from the editable installation."""
    built, target = folder / "built", folder / "site"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    wheel = next(built.glob("autopack-*.whl"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*install, str(target), str(wheel)], check=True, capture_output=True, timeout=120)
    return target


def test_the_installed_wheel_runs_a_plan_to_a_green_branch(tmp_path: Path) -> None:
    site = _installed(tmp_path)
    repo = repository(tmp_path / "repo")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(request(repo)))
    agent = python_agent(tmp_path, "agent", WRITES_A_FILE)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AUTOPACK_")},
        "PYTHONPATH": str(site),
        "AUTOPACK_HOME": str(tmp_path / "home"),
    }
    located = subprocess.run(
        [sys.executable, "-c", "import events, projections, services; print(services.__file__)"],
        cwd=tmp_path, env=environment, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert located.stdout.startswith(str(site))
    command = [sys.executable, str(site / "bin" / "autopack"), "run", str(plan), "--json"]
    done = subprocess.run(
        [*command, "--builder-command", " ".join(agent)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "DONE_SUCCESS"
    assert git(repo, "show", "autonomous/run-1:P1.txt") == "done"
