"""Mirrors and preparation: every kind of repository, every kind of nothing."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from time import time

import pytest

from projections.queries.retention import OpenRuns
from services.collection.home import collect_home
from services.git.command import GitCommand
from services.git.failures import (
    BaseMissing,
    CommitMissing,
    ConfigurationUnreadable,
    GitFailure,
    RepositoryEmpty,
    RepositoryMissing,
    RepositoryUnsupported,
)
from services.git.inspection import is_ancestor
from services.git.mirror import fetch_commit, open_mirror
from services.git.preparation import Prepared, prepare, read_configuration
from services.git.reference_names import base_reference
from support.repositories import commit, git, make_repository
from support.stage import until


async def prepared(root: Path, address: str, base: str | None = None) -> Prepared:
    return await prepare(await open_mirror(GitCommand(), root / "mirrors", address), base)


async def test_a_repository_is_prepared_at_its_default_branch(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {"autopack.toml": "[policy]\n", "a": "1"})
    found = await prepared(tmp_path, str(repository))
    assert found == Prepared(git(repository, "rev-parse", "HEAD"), "main", "[policy]\n")


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_what_is_fetched_is_there_whole_or_not_at_all(tmp_path: Path, scheme: str) -> None:
    """In a pack, that is: single objects come one after another, a commit before its files."""
    repository = make_repository(tmp_path / "r", {"a": "1"})
    await prepared(tmp_path, f"{scheme}{repository}")
    (mirror,) = (tmp_path / "mirrors").glob("*.git")
    assert len(list(mirror.glob("objects/pack/*.pack"))) == 1
    assert list(mirror.glob("objects/??")) == []


async def test_a_fetch_that_is_cancelled_leaves_nothing_that_keeps_its_pack_for_ever(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {"a": "1"})
    mirror = await open_mirror(GitCommand(), tmp_path / "mirrors", str(repository))
    wanted = git(repository, "rev-parse", "HEAD")
    packs, base = mirror.folder / "objects" / "pack", mirror.folder / base_reference(wanted)
    base.parent.mkdir(parents=True)
    base.with_name(f"{base.name}.lock").touch()  # git has its pack, and waits for this lock
    fetch = asyncio.create_task(fetch_commit(mirror, wanted))
    await until(lambda: any(packs.glob("*.keep")) and any(packs.glob("*.idx")), 10)
    (packs / "tmp_pack_a1b2c3").touch()  # as of one killed while it received
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    assert {".pack", ".idx"} <= {file.suffix for file in packs.iterdir()} <= {".pack", ".idx", ".rev"}
    assert list(base.parent.iterdir()) == []


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_a_bare_repository_is_accepted_by_path_and_url(tmp_path: Path, scheme: str) -> None:
    repository = make_repository(tmp_path / "r")
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "bare.git")
    found = await prepared(tmp_path, f"{scheme}{tmp_path}/bare.git")
    assert found == Prepared(git(repository, "rev-parse", "HEAD"), "main", None)


async def test_of_a_dirty_repository_the_committed_state_counts_and_nothing_is_touched(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    (repository / "README.md").write_text("staged\n")
    git(repository, "add", "README.md")
    (repository / "README.md").write_text("changed\n")
    (repository / "autopack.toml").write_text("[policy]\n")
    before = snapshot(repository)
    found = await prepared(tmp_path, str(repository))
    assert found.configuration is None
    assert snapshot(repository) == before


def age(path: Path, days: float = 2) -> None:
    os.utime(path, (time() - days * 86_400,) * 2)


def snapshot(repository: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_a_base_is_a_branch_a_tag_or_a_commit(tmp_path: Path, scheme: str) -> None:
    repository = make_repository(tmp_path / "r")
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "--annotate", "v1", "--message", "one")
    git(repository, "branch", "feature/x")
    second = commit(repository, {"a": "2"})
    address = f"{scheme}{repository}"
    assert (await prepared(tmp_path, address, "v1")).base_commit == first
    assert (await prepared(tmp_path, address, "feature/x")).base_commit == first
    assert (await prepared(tmp_path, address, "main")).base_commit == second
    assert (await prepared(tmp_path, address, first)).base_commit == first


async def test_a_branch_goes_before_a_tag_of_the_same_name(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    git(repository, "tag", "twice")
    second = commit(repository, {"a": "2"})
    git(repository, "branch", "twice", second)
    assert (await prepared(tmp_path, str(repository), "twice")).base_commit == second
    assert (await prepared(tmp_path, f"file://{repository}", "twice")).base_commit == second


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("base", ["nope", "--help", "HEAD\nmain", " ", "0" * 39 + "1", "main^{tree}"])
async def test_a_base_that_is_not_there_is_named(tmp_path: Path, scheme: str, base: str) -> None:
    repository = make_repository(tmp_path / "r")
    with pytest.raises(BaseMissing):
        await prepared(tmp_path, f"{scheme}{repository}", base)


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_an_empty_repository_is_named(tmp_path: Path, scheme: str) -> None:
    git(tmp_path, "init", "--quiet", "r")
    with pytest.raises(RepositoryEmpty):
        await prepared(tmp_path, f"{scheme}{tmp_path}/r")


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_what_is_no_repository_is_named(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder", "nothing"):
        with pytest.raises(RepositoryMissing):
            await prepared(tmp_path, f"{scheme}{tmp_path}/{name}")


async def test_a_repository_of_another_object_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    git(tmp_path / "r", "init", "--quiet", "--object-format=sha256")
    commit(tmp_path / "r", {"a": "1"})
    with pytest.raises(RepositoryUnsupported, match="object format is SHA-256"):
        await prepared(tmp_path, str(tmp_path / "r"))


async def test_a_folder_inside_a_repository_is_no_repository(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    with pytest.raises(RepositoryMissing):
        await prepared(tmp_path, str(repository / "src"))


@pytest.mark.parametrize(
    "address", ["", "--upload-pack=touch x", "ext::sh -c true", "ftp://host/r", "ssh://-oProxyCommand=x/r", "a\nb"]
)
async def test_an_address_that_is_not_served_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(RepositoryUnsupported):
        await prepared(tmp_path, address)


async def test_a_detached_head_has_no_default_branch(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    git(repository, "checkout", "--quiet", "--detach")
    assert (await prepared(tmp_path, str(repository))).default_branch is None


async def test_a_linked_work_tree_and_a_shallow_clone_are_accepted(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    second = commit(repository, {"a": "2"})
    git(repository, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", "shallow")
    assert await prepared(tmp_path, str(tmp_path / "linked")) == Prepared(second, "side", None)
    assert (await prepared(tmp_path, str(tmp_path / "shallow"))).base_commit == second


async def test_the_lock_that_a_killed_fetch_of_a_cut_history_left_is_in_nobodys_way(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", "shallow")
    mirror = await open_mirror(GitCommand(), tmp_path / "mirrors", str(tmp_path / "shallow"))
    lock = mirror.folder / "shallow.lock"
    lock.touch()
    assert (await prepare(mirror)).base_commit == git(repository, "rev-parse", "HEAD")
    assert not lock.exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 300_000])
async def test_a_configuration_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    repository = make_repository(tmp_path / "r", {"autopack.toml": content})
    with pytest.raises(ConfigurationUnreadable):
        await prepared(tmp_path, str(repository))


async def test_a_configuration_that_is_a_folder_is_named(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r", {"autopack.toml/x": "1"})
    with pytest.raises(ConfigurationUnreadable):
        await prepared(tmp_path, str(repository))


async def test_a_commit_that_the_mirror_lacks_is_named(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    mirror = await open_mirror(GitCommand(), tmp_path / "mirrors", str(repository))
    with pytest.raises(CommitMissing):
        await read_configuration(mirror, "1" * 40)
    with pytest.raises(CommitMissing):
        await is_ancestor(mirror, "1" * 40, "2" * 40)


PREPARE = """
import asyncio, sys
from pathlib import Path
from services.git.command import GitCommand
from services.git.mirror import open_mirror
from services.git.preparation import prepare
async def main():
    mirror = await open_mirror(GitCommand(), Path(sys.argv[1]), sys.argv[2])
    print((await prepare(mirror)).base_commit)
asyncio.run(main())
"""


@pytest.mark.parametrize("is_torn", [False, True], ids=["none yet", "a torn one"])
async def test_processes_that_open_one_mirror_at_once_all_succeed(tmp_path: Path, is_torn: bool) -> None:
    repository = make_repository(tmp_path / "r")
    head = git(repository, "rev-parse", "HEAD")
    if is_torn:
        mirror = await open_mirror(GitCommand(), tmp_path / "mirrors", str(repository))
        (mirror.folder / "HEAD").write_text("")
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", PREPARE, str(tmp_path / "mirrors"), str(repository), stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    outputs = [(await child.communicate())[0].decode().strip() for child in children]
    assert outputs == [head] * 4
    assert len(list((tmp_path / "mirrors").iterdir())) == 1 + is_torn


@pytest.mark.parametrize("left", [b"", b"\0" * 21, None])
async def test_a_mirror_that_a_power_cut_has_torn_is_made_anew(tmp_path: Path, left: bytes | None) -> None:
    repository = make_repository(tmp_path / "r")
    mirror = await open_mirror(GitCommand(), tmp_path / "mirrors", str(repository))
    head = mirror.folder / "HEAD"
    head.unlink() if left is None else head.write_bytes(left)
    assert (await prepared(tmp_path, str(repository))).base_commit == git(repository, "rev-parse", "HEAD")
    [torn] = (tmp_path / "mirrors").glob(".new-*")
    age(torn)
    await collect_home(tmp_path, GitCommand(), OpenRuns(), unused_days=14)
    assert list((tmp_path / "mirrors").iterdir()) == [mirror.folder]


async def test_a_new_mirror_bears_its_name_when_all_of_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        everything = {str(source), *(str(path) for path in source.rglob("*"))}
        assert everything <= set(done)
        done.clear()
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    await open_mirror(GitCommand(), tmp_path / "mirrors", str(make_repository(tmp_path / "r")))
    assert done == [str(tmp_path / "mirrors")]


def test_every_failure_says_what_is_wrong() -> None:
    for kind in GitFailure.__subclasses__():
        assert kind.__doc__
