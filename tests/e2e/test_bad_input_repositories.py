"""Repositories as users have them: missing, empty, bare, dirty, behind a URL."""

from collections.abc import Mapping
from pathlib import Path

from services.settings import Settings
from support.builds import GREEN, WRITES_A_FILE, Build, python_agent, repository, request, running
from support.repositories import commit, git, write


async def _outcomes(build: Build, run_ids: Mapping[str, object]) -> dict[str, tuple[str, str]]:
    """State and reason of each run."""
    ends = {run_id: (await build.end(run_id))["data"] for run_id in run_ids}
    return {run_id: (data["state"], data.get("reason", "")) for run_id, data in ends.items()}


async def test_a_repository_that_cannot_be_used_ends_its_run_alone_and_says_why(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    good = repository(tmp_path / "good")
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    write(tmp_path, {"file": "no repository", "folder/file": "nor this"})
    unusable: dict[str, tuple[dict[str, object], str]] = {
        "missing": (request(tmp_path / "nowhere"), "no git repository"),
        "file": (request(tmp_path / "file"), "no git repository"),
        "folder": (request(tmp_path / "folder"), "no git repository"),
        "empty": (request(empty), "empty"),
        "empty-url": (request(f"file://{empty}"), "empty"),
        "missing-url": (request(f"file://{tmp_path}/nowhere"), "no git repository"),
        "away": (request("https://127.0.0.1:9/shop.git"), "could not be read"),
        "plain": (request("http://127.0.0.1:9/shop.git"), "not served"),
        "command": (request(f"ext::sh -c 'touch {tmp_path}/owned'"), "not served"),
        "option": (request("--upload-pack=touch"), "--upload-pack"),
        "base": (request(good, base="no-such-branch"), "no-such-branch"),
        "base-url": (request(f"file://{good}", base="no-such-branch"), "no-such-branch"),
        "base-option": (request(good, base="--all"), "--all"),
        "base-commit": (request(good, base="f" * 40), "f" * 40),
        "base-tree": (request(good, base="main^{tree}"), "main^{tree}"),
    }
    async with running(postgres_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        for run_id, (plan, _) in unusable.items():
            await build.start({**plan, "run_id": run_id})
        await build.start(request(good))
        outcomes = await _outcomes(build, unusable)
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
    assert {state for state, _ in outcomes.values()} == {"DONE_FAILED_ENVIRONMENT"}
    for run_id, (_, word) in unusable.items():
        assert word.lower() in outcomes[run_id][1].lower(), (run_id, outcomes[run_id])
    assert not (tmp_path / "owned").exists()


def _seen_by_its_user(folder: Path) -> dict[str, object]:
    """Everything of a checkout that its user would miss: files with their times, index, HEAD, settings."""
    git_dir = folder / ".git"
    kept = [path for path in folder.rglob("*") if path.is_file() and git_dir not in path.parents]
    kept += [git_dir / name for name in ("HEAD", "index", "config", "ORIG_HEAD", "FETCH_HEAD", "packed-refs")]
    files = {str(p): (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in kept if p.exists()}
    listed = git(folder, "--no-optional-locks", "for-each-ref", "--format=%(refname) %(objectname)")
    own = [line for line in listed.splitlines() if "/autonomous/" not in line and "refs/autopack/" not in line]
    return {
        **files,
        "references": own,
        "hooks": sorted(path.name for path in (git_dir / "hooks").iterdir()),
        "worktrees": (git_dir / "worktrees").exists(),
    }


async def test_a_dirty_checkout_is_built_from_its_commit_and_left_as_it_is(
    log_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo", {"kept.txt": "old\n", "gone.txt": "old\n", ".gitignore": "ignored\n"})
    git(repo, "checkout", "--quiet", "-b", "mine")
    own = commit(repo, {"own.txt": "of my branch\n"}, "My own work")
    write(repo, {"kept.txt": "staged\n", "ignored": "private\n", "new.txt": "untracked\n"})
    git(repo, "add", "kept.txt")
    write(repo, {"kept.txt": "edited\n"})
    (repo / "gone.txt").unlink()
    hook = repo / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    git(repo, "config", "core.fsmonitor", f"touch {tmp_path}/monitor-ran")
    before = _seen_by_its_user(repo)
    async with running(log_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(repo, base="main"))
        await build.start(request(repo, run_id="run-2"))
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
        assert (await build.end("run-2"))["data"]["state"] == "DONE_SUCCESS"
    assert _seen_by_its_user(repo) == before
    assert not (tmp_path / "hook-ran").exists()
    assert not (tmp_path / "monitor-ran").exists()
    git(repo, "config", "--unset", "core.fsmonitor")
    assert git(repo, "show", "autonomous/run-1:kept.txt") == "old"
    assert git(repo, "merge-base", "autonomous/run-1", "main") == git(repo, "rev-parse", "main")
    assert git(repo, "merge-base", "autonomous/run-2", own) == own
    assert "new.txt" not in git(repo, "ls-tree", "--name-only", "autonomous/run-2").split()


async def test_bare_repositories_and_urls_get_branch_and_tags(log_settings: Settings, tmp_path: Path) -> None:
    source = repository(tmp_path / "source")
    bare, pushed = tmp_path / "bare.git", tmp_path / "pushed.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(source), str(bare))
    git(tmp_path, "clone", "--quiet", "--bare", str(source), str(pushed))
    async with running(log_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(bare, 2))
        await build.start(request(f"file://{pushed}", 2, run_id="run-2"))
        ends = {run_id: (await build.end(run_id))["data"] for run_id in ("run-1", "run-2")}
    for folder, run_id in ((bare, "run-1"), (pushed, "run-2")):
        assert ends[run_id]["state"] == "DONE_SUCCESS", ends[run_id]
        assert git(folder, "rev-parse", f"autonomous/{run_id}") == ends[run_id]["head_commit"]
        tags = git(folder, "tag").split()
        assert tags == [f"autonomous/{run_id}/tier-T1/phase-P{number}" for number in (1, 2)]
        assert git(folder, "rev-parse", "main") == git(source, "rev-parse", "main")
        git(folder, "fsck", "--strict", "--no-dangling")
    assert git(source, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_the_configuration_of_the_base_counts_not_that_of_the_working_tree(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo")
    write(repo, {"autopack.toml": GREEN.replace('"true"', '"false"')})
    git(repo, "add", "autopack.toml")
    async with running(postgres_settings, python_agent(tmp_path, "agent", WRITES_A_FILE)) as build:
        await build.start(request(repo))
        assert (await build.end())["data"]["state"] == "DONE_SUCCESS"
