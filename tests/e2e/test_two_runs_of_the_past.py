"""A run with a history: consecutive commits worked as phases end in the very tree of the last one."""

from collections.abc import Iterator
from pathlib import Path

from services.settings import Settings
from support.builds import python_agent, repository, running
from support.past import agent_of_the_past, plan_of_the_past, steps, tree_of
from support.repositories import commit, git


def _history(repo: Path) -> Iterator[str]:
    """Commits of every kind that a repository has: the state after each."""
    yield git(repo, "rev-parse", "HEAD")
    yield commit(repo, {"src/cart.py": "def total():\n    return 0\n", "docs/guide.md": "# Guide\n"}, "Add")
    yield commit(repo, {"src/cart.py": "def total(prices):\n    return sum(prices)\n"}, "Change")
    git(repo, "mv", "docs/guide.md", "docs/handbook.md")
    yield commit(repo, {}, "Rename")
    git(repo, "mv", "src", "shop")
    yield commit(
        repo, {"shop/cart.py": "def total(prices):\n    return round(sum(prices), 2)\n"}, "Move and change"
    )
    yield commit(repo, {"run.sh": "#!/bin/sh\nexit 0\n"}, "A script")
    (repo / "run.sh").chmod(0o755)
    yield commit(repo, {}, "Executable")
    (repo / "run.sh").chmod(0o644)
    yield commit(repo, {}, "Not executable")
    yield commit(repo, {"logo.bin": bytes(range(256)) * 16, "nothing.txt": "", "shop/__init__.py": ""}, "Binary")
    yield commit(repo, {"logo.bin": bytes(range(255, -1, -1)) * 16}, "Binary changed")
    yield commit(repo, {"caf\u00e9/men\u00fc.txt": "\u00fcber\n", "name with blanks.txt": "x"}, "Names")
    yield commit(repo, {"crlf.txt": "one\r\ntwo\r\n", "mixed.txt": "one\r\ntwo\n", "no-end.txt": "none"}, "Lines")
    yield commit(
        repo, {"crlf.txt": "one\ntwo\n", "mixed.txt": "one\ntwo\r\n", "no-end.txt": "one\n"}, "Other lines"
    )
    yield commit(repo, {".gitignore": "*.log\n", "kept.log": "kept all the same\n"}, "Ignored and kept")
    yield commit(
        repo, {".github/workflows/ci.yml": "on: push\n", "conftest.py": "", "odd[1].txt": "x\n"}, "Run by itself"
    )
    git(repo, "rm", "--quiet", "-r", "docs", "logo.bin", "nothing.txt")
    yield commit(repo, {}, "Delete")
    git(repo, "rm", "--quiet", "name with blanks.txt")
    yield commit(repo, {"name with blanks.txt/inner.txt": "a folder now\n"}, "From file to folder")
    yield commit(repo, {}, "Nothing at all")
    yield commit(repo, {"kept.log": "the last\n", "latin.txt": "caf\u00e9".encode("latin-1") + b"\n"}, "End")


async def test_a_history_of_every_kind_of_commit_is_worked_again_to_the_same_tree(
    log_settings: Settings, tmp_path: Path
) -> None:
    past = repository(tmp_path / "past")
    pairs = steps(past, list(_history(past)))
    repo = tmp_path / "repo"
    git(tmp_path, "clone", "--quiet", "--bare", str(past), str(repo))
    agent = agent_of_the_past(tmp_path, past, pairs)
    approves = python_agent(
        tmp_path, "auditor", "print(json.dumps({'recommendation': 'approve', 'confidence': 1}))"
    )
    async with running(log_settings, agent, approves) as build:
        await build.start(plan_of_the_past(past, pairs) | {"repository": str(repo)})
        end = (await build.end(seconds=100))["data"]
    assert end["state"] == "DONE_SUCCESS", (end["reason"], end["incident"])
    landed = git(repo, "rev-list", "--reverse", f"{pairs[0][0]}..autonomous/run-1").split()
    assert [tree_of(repo, commit_id) for commit_id in landed] == [tree_of(past, new) for _, new in pairs]
