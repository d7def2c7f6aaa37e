import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.sandbox import remove_folder
from services.sandbox.ownership import PASSING_USERS, lend_folder, take_back_folder, user_for_sandbox
from support.deep_trees import TOO_DEEP_FOR_PATHS, make_deep


def test_a_hard_link_is_cut_so_that_its_twin_elsewhere_cannot_be_changed(tmp_path: Path):
    outside, inside = tmp_path / "mirror-object", tmp_path / "work" / "object"
    inside.parent.mkdir()
    outside.write_text("precious")
    outside.chmod(0o444)
    os.link(outside, inside)
    times = inside.stat().st_mtime_ns
    lend_folder(inside.parent, None)
    inside.chmod(0o644)
    inside.write_text("spoilt")
    assert outside.read_text() == "precious"
    assert os.listdir(inside.parent) == ["object"]
    assert times == outside.stat().st_mtime_ns


def test_a_folder_is_lent_and_taken_back_without_following_links(tmp_path: Path):
    """Root lends it to a user of the sandbox's own; whoever is not root works in sandboxes as himself."""
    own = os.geteuid()
    outside = tmp_path / "outside"
    outside.write_text("ours")
    work = tmp_path / "work"
    (work / "deep" / "er").mkdir(parents=True)
    (work / "deep" / "file").write_text("x")
    (work / "link").symlink_to(outside)
    (work / "deep" / "loop").symlink_to(work)
    uid = user_for_sandbox()
    assert uid in PASSING_USERS if own == 0 else uid is None
    lend_folder(work, uid)
    assert {path.lstat().st_uid for path in (work, *work.rglob("*"))} == {own if uid is None else uid}
    assert outside.stat().st_uid == own
    take_back_folder(work, uid)
    assert {path.lstat().st_uid for path in (work, *work.rglob("*"))} == {own}


def test_a_folder_closed_to_us_is_removed_and_a_missing_one_is_no_error(tmp_path: Path):
    closed = tmp_path / "work" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    closed.chmod(0)
    remove_folder(tmp_path / "work")
    remove_folder(tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_folder_is_lent_taken_back_and_removed_however_deep_it_is(tmp_path: Path):
    work = tmp_path / "work"
    work.mkdir()
    make_deep(work, TOO_DEEP_FOR_PATHS)
    uid = user_for_sandbox()
    lend_folder(work, uid)
    take_back_folder(work, uid)
    remove_folder(work)
    assert not work.exists()


def test_two_who_remove_a_folder_at_once_are_in_nobodys_way(tmp_path: Path):
    for number in range(50):
        (tmp_path / "work" / f"{number}" / "deep").mkdir(parents=True)
        (tmp_path / "work" / f"{number}" / "file").write_text("x")
    with ThreadPoolExecutor() as threads:
        list(threads.map(remove_folder, [tmp_path / "work"] * 4))
    assert not (tmp_path / "work").exists()
