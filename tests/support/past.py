"""A repository's history worked again: each commit a phase, its change made by a command agent."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.builds import request
from support.repositories import ENVIRONMENT, git, patch_between

AGENT = """
import json, os, subprocess, sys
request = json.load(sys.stdin)
patch = os.path.join(sys.argv[1], request['phase']['phase_id'] + '.patch')
def git(*words):
    who = ['-c', 'user.name=Agent', '-c', 'user.email=agent@localhost', '-c', 'core.autocrlf=false']
    subprocess.run(['git', *who, *words], check=True)
git('update-index', '-q', '--refresh')
git('apply', '--index', '--binary', '--whitespace=nowarn', patch)
git('commit', '--quiet', '--no-verify', '--message', 'The change')
"""


def tree_of(repo: Path, commit: str) -> str:
    """The tree of a commit."""
    return git(repo, "rev-parse", f"{commit}^{{tree}}")


def steps(repo: Path, commits: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of consecutive commits whose trees differ; what is empty is no phase."""
    pairs, before = [], commits[0]
    for commit in commits[1:]:
        if tree_of(repo, commit) != tree_of(repo, before):
            pairs.append((before, commit))
            before = commit
    return pairs


def paths_between(repo: Path, old: str, new: str) -> list[str]:
    """The paths that a change touches."""
    listed = subprocess.run(
        ["git", "diff", "--name-only", "--no-renames", "-z", old, new],
        cwd=repo,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    return [name.decode() for name in listed.stdout.split(b"\0") if name]


def agent_of_the_past(folder: Path, repo: Path, pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """An agent that makes the change of the commit that its phase is named after."""
    patches, script = folder / "patches", folder / "past.py"
    patches.mkdir()
    for number, (old, new) in enumerate(pairs):
        (patches / f"C{number}.patch").write_bytes(patch_between(repo, old, new))
    script.write_text(AGENT)
    return (sys.executable, str(script), str(patches))


def plan_of_the_past(repo: Path, pairs: Sequence[tuple[str, str]], **changes: Any) -> dict[str, Any]:
    """One phase a commit; each may touch what its commit touched, whatever that is."""
    phases = [
        {"phase_id": f"C{number}", "allow": [*_escaped(paths_between(repo, old, new)), *KINDS]}
        for number, (old, new) in enumerate(pairs)
    ]
    return request(repo, phases, base=pairs[0][0], **{"max_phases": None, "token_cap": None, **changes})


KINDS = ("executable", "non_ascii_names")


def _escaped(paths: Sequence[str]) -> list[str]:
    """Paths as globs that name them alone."""
    return ["".join(f"[{c}]" if c in "*?[" else c for c in path) for path in paths]
