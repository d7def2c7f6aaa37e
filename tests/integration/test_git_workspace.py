"""Clones for agents, and the patches taken from them, however hostile the agent was."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.git.candidate import Candidate
from services.git.failures import CommitMissing, WorkTreeUnreadable
from services.git.inspection import check_out_tree
from services.git.patch import TakeLimits, take_patch
from services.git.workspace import Workspace, clone_for_agent, remove_workspace
from support.deep_trees import make_deep
from support.repositories import Bench, commit, git, make_bench, make_repository, write

is_link = os.path.islink


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return await make_bench(tmp_path)


@pytest.fixture
async def workspace(bench: Bench, tmp_path: Path) -> AsyncIterator[Workspace]:
    made = await clone_for_agent(bench.mirror, bench.base, tmp_path / "workspace")
    yield made
    await remove_workspace(made)


async def changed(workspace: Workspace) -> set[bytes]:
    return {file.path for file in (await take_patch(workspace)).files}


async def test_a_clone_is_whole_and_clean_and_shares_nothing(bench: Bench, workspace: Workspace) -> None:
    assert git(workspace.tree, "status", "--porcelain") == ""
    assert git(workspace.tree, "rev-parse", "HEAD") == bench.base
    git(workspace.tree, "fsck", "--strict")
    assert not (workspace.tree / ".git" / "objects" / "info" / "alternates").exists()
    inodes = {path.stat().st_ino for path in bench.mirror.folder.rglob("*") if path.is_file()}
    assert inodes.isdisjoint(path.stat().st_ino for path in workspace.tree.rglob("*") if path.is_file())


async def test_a_clone_takes_three_processes(bench: Bench, tmp_path: Path) -> None:
    started = bench.mirror.git.started
    await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    assert bench.mirror.git.started - started == 3


async def test_a_clone_of_a_long_history_has_its_last_commits(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    for number in range(60):
        commit(repository, {f"f{number}": str(number)})
    git(repository, "checkout", "--quiet", "-b", "side", "HEAD~5")
    commit(repository, {"side": "1"})
    git(repository, "checkout", "--quiet", "main")
    git(repository, "merge", "--quiet", "--no-edit", "side")
    bench = await make_bench(tmp_path)
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    git(workspace.tree, "fsck", "--strict")
    assert 30 < int(git(workspace.tree, "rev-list", "--count", "HEAD")) <= 50
    assert git(workspace.tree, "status", "--porcelain") == ""


async def test_a_clone_of_a_shallow_repository_is_whole(tmp_path: Path) -> None:
    origin = make_repository(tmp_path / "origin")
    commit(origin, {"a": "2"})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{origin}", "repository")
    bench = await make_bench(tmp_path)
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    git(workspace.tree, "fsck", "--strict")
    assert git(workspace.tree, "rev-list", "--count", "HEAD") == "1"


async def test_a_clone_of_a_missing_commit_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(CommitMissing):
        await clone_for_agent(bench.mirror, "1" * 40, tmp_path / "w")


async def test_nothing_changed_gives_an_empty_patch(workspace: Workspace) -> None:
    taken = await take_patch(workspace)
    assert (taken.patch, taken.files, taken.lines_added, taken.lines_removed) == (b"", (), 0, 0)


async def test_a_patch_holds_edits_new_files_deletions_modes_and_binaries(
    bench: Bench, workspace: Workspace, tmp_path: Path
) -> None:
    write(workspace.tree, {"src/cart.py": "x = 1\n", "new/a b.txt": "1\n2\n", "data.bin": bytes(range(256))})
    (workspace.tree / "README.md").unlink()
    (workspace.tree / "src" / "stock.py").chmod(0o755)
    (workspace.tree / "größe\n.txt").write_text("x")
    taken = await take_patch(workspace)
    assert (taken.lines_added, taken.lines_removed) == (4, 3)
    candidate = await bench.candidate(taken.patch)
    await check_out_tree(bench.mirror, candidate.commit, tmp_path / "result")
    shutil.rmtree(workspace.tree / ".git")
    assert contents(tmp_path / "result") == contents(workspace.tree)


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_the_agents_own_commits_are_flattened(workspace: Workspace) -> None:
    for number in range(3):
        commit(workspace.tree, {"src/cart.py": f"x = {number}\n"})
    git(workspace.tree, "checkout", "--quiet", "--orphan", "elsewhere")
    taken = await take_patch(workspace)
    assert [file.path for file in taken.files] == [b"src/cart.py"]
    assert b"+x = 2\n" in taken.patch


async def test_taking_twice_gives_the_same_bytes(workspace: Workspace) -> None:
    write(workspace.tree, {"src/cart.py": "x = 1\n", "b": "1", "a": "2"})
    assert (await take_patch(workspace)).patch == (await take_patch(workspace)).patch


async def test_the_bases_ignore_rules_count_not_the_agents(tmp_path: Path) -> None:
    rules = {
        ".gitignore": "*.log\nbuild/\n/root.txt\n# note\n!important.log\n",
        "lib/.gitignore": "!keep.log\n/own\ndeep/er.txt\ncache/\n",
        "we[i]rd/.gitignore": "secret\n",
        "lib/a": "1",
    }
    make_repository(tmp_path / "repository", rules)
    bench = await make_bench(tmp_path)
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    ignored = [
        "a.log", "lib/x.log", "build/o", "lib/build/o", "root.txt", "lib/own", "lib/deep/er.txt",
        "lib/x/cache/y", "we[i]rd/secret",
    ]  # fmt: skip
    taken = [
        "important.log", "lib/keep.log", "lib/root.txt", "lib/x/own", "own", "lib/x/deep/er.txt", "cache/y",
        "weird/secret", "secret",
    ]  # fmt: skip
    write(workspace.tree, dict.fromkeys([*ignored, *taken], "x"))
    assert await changed(workspace) == {name.encode() for name in taken}
    write(workspace.tree, {".gitignore": "*\n", ".git/info/exclude": "*\n", "lib/.gitignore": "*\n"})
    git(workspace.tree, "config", "core.excludesFile", str(workspace.tree / ".gitignore"))
    assert await changed(workspace) == {b".gitignore", b"lib/.gitignore", *(name.encode() for name in taken)}


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "executed"


def plant(folder: Path, marker: Path) -> None:
    """Everything in a repository that git may run, made to leave a marker."""
    touch = f"touch {marker}"
    for name, value in {
        "core.fsmonitor": touch,
        "core.hooksPath": ".evil",
        "core.sshCommand": touch,
        "core.pager": touch,
        "core.editor": touch,
        "diff.external": touch,
        "diff.evil.textconv": touch,
        "diff.evil.command": touch,
        "filter.evil.clean": touch,
        "filter.evil.smudge": touch,
        "filter.evil.process": touch,
        "filter.evil.required": "true",
        "merge.evil.driver": touch,
        "core.alternateRefsCommand": touch,
        "uploadpack.packObjectsHook": touch,
    }.items():
        git(folder, "config", name, value)
    hooks = ["pre-commit", "post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"]
    for hooks_folder in (folder / ".git" / "hooks", folder / ".evil"):
        for hook in hooks:
            write(hooks_folder, {hook: f"#!/bin/sh\n{touch}\n"})
            (hooks_folder / hook).chmod(0o755)
    write(folder, {".gitattributes": "* filter=evil diff=evil merge=evil\n"})
    write(folder / ".git", {"info/attributes": "* filter=evil diff=evil merge=evil\n"})


async def test_nothing_in_a_hostile_repository_is_run(bench: Bench, workspace: Workspace, marker: Path) -> None:
    write(workspace.tree, {"src/cart.py": "x = 1\n", "new.py": "y = 1\n"})
    plant(workspace.tree, marker)
    taken = await take_patch(workspace)
    assert {b"src/cart.py", b"new.py", b".gitattributes"} <= {file.path for file in taken.files}
    assert isinstance(await bench.candidate(taken.patch), Candidate)
    assert not marker.exists()
    with contextlib.suppress(subprocess.CalledProcessError):
        git(workspace.tree, "status")
    assert marker.exists(), "the traps are no traps"


async def test_a_hostile_submodule_is_never_entered(tmp_path: Path, marker: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    inner = make_repository(tmp_path / "inner")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "inner")
    git(repository, "commit", "--quiet", "--message", "With a submodule")
    bench = await make_bench(tmp_path)
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    assert (await take_patch(workspace)).files == ()
    commit(make_repository(tmp_path / "evil"), {"evil": "1"})
    plant(tmp_path / "evil", marker)
    (workspace.tree / "inner").rmdir()
    (tmp_path / "evil").rename(workspace.tree / "inner")
    assert await changed(workspace) == {b"inner"}
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["missing", "link", "file", "alternates"])
async def test_whatever_becomes_of_the_agents_git_directory_has_no_effect(
    workspace: Workspace, tmp_path: Path, kind: str, marker: Path
) -> None:
    write(workspace.tree, {"src/cart.py": "x = 1\n"})
    before = await take_patch(workspace)
    evil = make_repository(tmp_path / "evil")
    plant(evil, marker)
    directory = workspace.tree / ".git"
    if kind == "alternates":
        (directory / "objects" / "info" / "alternates").write_text(f"{evil}/.git/objects\n")
    else:
        shutil.rmtree(directory)
    if kind == "link":
        directory.symlink_to(evil / ".git")
    if kind == "file":
        directory.write_text(f"gitdir: {evil}/.git\n")
    assert (await take_patch(workspace)).patch == before.patch
    assert not marker.exists()


async def test_links_are_recorded_and_never_followed(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, {"cart.py": "stolen\n", "stock.py": "stolen\n"})
    shutil.rmtree(workspace.tree / "src")
    (workspace.tree / "src").symlink_to(outside)
    (workspace.tree / "passwd").symlink_to("/etc/passwd")
    taken = await take_patch(workspace)
    assert b"stolen" not in taken.patch
    assert b"root:" not in taken.patch
    assert taken.patch.count(b"new file mode 120000") == 2
    assert {file.path for file in taken.files} == {b"passwd", b"src", b"src/cart.py", b"src/stock.py"}


async def test_a_work_tree_that_became_a_link_is_not_read(workspace: Workspace) -> None:
    shutil.rmtree(workspace.tree)
    workspace.tree.symlink_to("/etc")
    with pytest.raises(WorkTreeUnreadable):
        await take_patch(workspace)
    workspace.tree.unlink()


async def test_pipes_and_sockets_hang_nobody(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(workspace.tree / "pipe")
    (workspace.tree / "README.md").unlink()
    os.mkfifo(workspace.tree / "README.md")
    monkeypatch.chdir(workspace.tree)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        taken = await take_patch(workspace)
    assert [file.path for file in taken.files] == [b"README.md"]
    assert b"deleted file" in taken.patch
    assert taken.special_files == (b"README.md",)


@pytest.mark.parametrize("folder", ["", "src", "deep/new"])
@pytest.mark.parametrize("name", [".gitattributes", ".gitignore", ".gitmodules"])
async def test_pipes_that_git_would_open_hang_nobody(workspace: Workspace, folder: str, name: str) -> None:
    new = str(Path(folder, "a.py"))
    write(workspace.tree, {"README.md": "changed\n", new: "a\n", "src/cart.py": "changed\n"})
    pipe = workspace.tree / folder / name
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    async with asyncio.timeout(30):
        taken = await take_patch(workspace)
    path = os.fsencode(pipe.relative_to(workspace.tree))
    assert taken.special_files == (path,)
    removed = {path} & {b".gitignore"}
    assert {file.path for file in taken.files} == {b"README.md", b"src/cart.py", new.encode()} | removed


async def test_what_git_reads_by_a_link_is_left_for_policy(workspace: Workspace) -> None:
    (workspace.tree / ".gitattributes").symlink_to("/dev/zero")
    async with asyncio.timeout(30):
        taken = await take_patch(workspace)
    assert [file.path for file in taken.files] == [b".gitattributes"]
    assert taken.special_files == ()


async def test_a_repository_inside_the_work_tree_surfaces_in_the_patch(workspace: Workspace) -> None:
    make_repository(workspace.tree / "vendor" / "lib")
    git(workspace.tree, "init", "--quiet", "unborn")
    taken = await take_patch(workspace)
    assert taken.nested_repositories == (b"unborn", b"vendor/lib")
    assert taken.patch.count(b"new file mode 160000") == 2


async def test_paths_that_git_refuses_surface_in_the_patch(workspace: Workspace) -> None:
    write(workspace.tree, {".GIT/config": "x", "a/git~1": "x", "b.py": "x\n"})
    taken = await take_patch(workspace)
    assert taken.refused_paths == (b".GIT/config", b"a/git~1")
    assert b'"b/.GIT/config"' in taken.patch
    assert b"b/b.py" in taken.patch


async def test_files_and_folders_may_take_each_others_place(bench: Bench, workspace: Workspace) -> None:
    shutil.rmtree(workspace.tree / "src")
    write(workspace.tree, {"src": "now a file\n"})
    (workspace.tree / "README.md").unlink()
    write(workspace.tree, {"README.md/index": "now a folder\n"})
    candidate = await bench.candidate((await take_patch(workspace)).patch)
    paths = {change.path for change in candidate.changes if change.new_mode}
    assert paths == {b"src", b"README.md/index"}


async def test_huge_files_are_left_out_and_named(workspace: Workspace) -> None:
    write(workspace.tree, {"core.dump": b"x" * 5000, "a": b"x" * 900, "b": b"x" * 900})
    taken = await take_patch(workspace, TakeLimits(file_size_bytes=1000, total_size_bytes=1500))
    assert taken.oversized == (b"b", b"core.dump")
    assert [file.path for file in taken.files] == [b"a"]


async def test_too_many_files_are_refused(workspace: Workspace) -> None:
    write(workspace.tree, {f"f{number}": "x" for number in range(20)})
    with pytest.raises(WorkTreeUnreadable):
        await take_patch(workspace, TakeLimits(changed_files=10))


async def test_an_attribute_passes_no_text_off_as_binary(workspace: Workspace) -> None:
    write(workspace.tree, {".gitattributes": "*.py binary -diff\n", "evil.py": "evil = True\n"})
    assert b"+evil = True\n" in (await take_patch(workspace)).patch


async def test_line_endings_that_the_base_converts_give_no_patch(tmp_path: Path) -> None:
    make_repository(tmp_path / "repository", {".gitattributes": "*.bat text eol=crlf\n", "run.bat": "a\nb\n"})
    bench = await make_bench(tmp_path)
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    assert (workspace.tree / "run.bat").read_bytes() == b"a\r\nb\r\n"
    (workspace.tree / "run.bat").write_bytes(b"a\r\nc\r\n")
    taken = await take_patch(workspace)
    assert (taken.lines_added, taken.lines_removed) == (1, 1)


async def test_a_thousand_new_files_are_taken(workspace: Workspace) -> None:
    write(workspace.tree, {f"d{number % 20}/f{number}.txt": f"{number}\n" for number in range(1000)})
    started = workspace.mirror.git.started
    taken = await take_patch(workspace)
    assert len(taken.files) == 1000
    assert workspace.mirror.git.started - started == 3


async def test_a_workspace_is_removed_whatever_its_modes(bench: Bench, tmp_path: Path) -> None:
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "w")
    write(workspace.tree, {"locked/a/b": "x"})
    (workspace.tree / "locked" / "a").chmod(0)
    (workspace.tree / "locked").chmod(0o500)
    await remove_workspace(workspace)
    assert not workspace.folder.exists()


async def test_many_files_in_a_deep_folder_are_taken_with_one_look_at_each_folder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_deep(workspace.tree, 500)
    folder = b"/".join([b"d"] * 500)
    os.symlink("d", workspace.tree / "link")
    for number in range(200):
        Path(os.fsdecode(os.path.join(os.fsencode(workspace.tree), folder, b"f%d" % number))).write_text("x\n")
    looked: list[bytes] = []
    monkeypatch.setattr(os.path, "islink", lambda path: looked.append(path) or is_link(path))
    taken = await take_patch(workspace)
    assert {file.path for file in taken.files} == {
        b"link", folder + b"/file", *(folder + b"/f%d" % number for number in range(200))
    }  # fmt: skip
    inside = os.fsencode(workspace.tree)
    assert len([path for path in looked if path.startswith(inside)]) == 500
