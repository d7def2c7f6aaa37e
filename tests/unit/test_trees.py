import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.trees import remove_tree, walk
from support.deep_trees import TOO_DEEP_FOR_PATHS, make_deep


@contextmanager
def few_open_files(most: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_tree_is_walked_and_removed_however_deep_it_is_and_with_few_open_files(tmp_path: Path):
    top = tmp_path / "top"
    top.mkdir()
    make_deep(top, TOO_DEEP_FOR_PATHS)
    with few_open_files(200):
        depths = [len(listing.way) for listing in walk(top)]
        remove_tree(top)
    assert depths == list(range(TOO_DEEP_FOR_PATHS + 1))
    assert not top.exists()


def test_every_folder_is_listed_once_with_what_is_in_it(tmp_path: Path):
    for name in ("a/b/c", "a/e", "f"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "f" / "loop").symlink_to(tmp_path)
    left: list[str] = []
    found = {
        "/".join(listing.way): (sorted(listing.folders), sorted(listing.files))
        for listing in walk(tmp_path, lambda name, _: left.append(name))
    }
    assert found == {
        "": (["a", "f"], []),
        "a": (["b", "e"], []),
        "a/b": (["c"], []),
        "a/b/c": ([], ["file"]),
        "a/e": ([], ["file"]),
        "f": ([], ["file", "loop"]),
    }
    assert sorted(left) == ["a", "b", "c", "e", "f"]
    assert left.index("c") < left.index("b") < left.index("a")


def test_what_is_taken_out_is_not_entered(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    entered = []
    for listing in walk(tmp_path):
        entered.append("/".join(listing.way))
        if "a" in listing.folders:
            listing.folders.remove("a")
    assert entered == ["", "c"]


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path):
    outside, top = tmp_path / "outside", tmp_path / "top"
    for folder in (outside, top):
        folder.mkdir()
    (outside / "file").touch()
    (top / "link").symlink_to(outside)
    remove_tree(top)
    assert (outside / "file").exists()
    assert not top.exists()


def test_a_folder_that_is_moved_away_under_a_walk_leads_it_nowhere_else(tmp_path: Path):
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    listings = walk(tmp_path / "top")
    while list(next(listings).way) != ["a", "b"]:
        pass
    os.rename(tmp_path / "top" / "a" / "b", tmp_path / "b")
    with pytest.raises(OSError, match="moved"):
        next(listings)
