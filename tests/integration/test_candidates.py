"""Mirrors as workers share them: git is asked for a repository's folder once, and again where it is another."""

import shutil
from pathlib import Path

import pytest

from services.artifacts import open_artifacts
from services.candidates import Candidates
from services.git.command import GitCommand
from services.git.failures import RepositoryMissing
from support.repositories import git, make_repository


@pytest.fixture
def asked() -> GitCommand:
    return GitCommand()


@pytest.fixture
def candidates(tmp_path: Path, asked: GitCommand) -> Candidates:
    return Candidates(asked, tmp_path / "mirrors", open_artifacts(str(tmp_path / "artifacts")))


async def test_a_repository_is_looked_for_once(candidates: Candidates, asked: GitCommand, tmp_path: Path):
    repository = str(make_repository(tmp_path / "repository"))
    first = await candidates.mirror(repository)
    before = asked.started
    assert await candidates.mirror(repository) == first
    assert asked.started == before


async def test_one_that_is_gone_is_missing_and_found_again_when_it_is_back(candidates: Candidates, tmp_path: Path):
    repository = make_repository(tmp_path / "repository")
    first = await candidates.mirror(str(repository))
    repository.rename(tmp_path / "away")
    with pytest.raises(RepositoryMissing):
        await candidates.mirror(str(repository))
    (tmp_path / "away").rename(repository)
    assert await candidates.mirror(str(repository)) == first


async def test_a_mirror_that_was_removed_is_made_again(candidates: Candidates, tmp_path: Path):
    repository = str(make_repository(tmp_path / "repository"))
    first = await candidates.mirror(repository)
    shutil.rmtree(first.folder)
    assert (await candidates.mirror(repository)).folder.is_dir()


@pytest.mark.parametrize("how", ["a link that leads elsewhere", "a file that leads elsewhere"])
async def test_an_address_that_has_come_to_mean_another_repository_is_looked_for_again(
    candidates: Candidates, tmp_path: Path, how: str
):
    one, other = make_repository(tmp_path / "one"), make_repository(tmp_path / "other")
    address = tmp_path / "address"
    if how == "a link that leads elsewhere":
        address.symlink_to(one)
    else:
        git(one, "worktree", "add", "--quiet", "--detach", str(address))
    first = await candidates.mirror(str(address))
    if how == "a link that leads elsewhere":
        address.unlink()
        address.symlink_to(other)
    else:
        git(other, "worktree", "add", "--quiet", "--detach", str(tmp_path / "theirs"))
        shutil.copyfile(tmp_path / "theirs" / ".git", address / ".git")
    second = await candidates.mirror(str(address))
    assert second.repository.address.startswith(str(other))
    assert first.repository.address.startswith(str(one))
    assert first.folder != second.folder
