"""Real git and a real sandbox: a repository, and agents and checks that do as good as nothing."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AGENTS = """\
[defaults]
builder = "touching"
[builder.touching]
kind = "command"
argv = ["/bin/sh", "-c", "echo $$ > built-$(date +%s%N)"]
"""
_IDENTITY = ("-c", "user.name=bench", "-c", "user.email=bench@bench.invalid")


def prepare(home: Path, folder: Path) -> Mapping[str, Any]:
    """The operator's agents, a repository with one commit, and what a plan says of them."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "agents.toml").write_text(AGENTS)
    repository = folder / "repository"
    repository.mkdir()
    (repository / "README.md").write_text("# Benchmarks\n")
    for arguments in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("commit", "--quiet", "--message=begin"),
    ):
        subprocess.run(["git", *_IDENTITY, *arguments], cwd=repository, check=True)
    checks = {"normal": [{"name": "true", "argv": ["true"], "timeout_seconds": 60}], "strict": []}
    return {"repository": str(repository), "checks": checks}
