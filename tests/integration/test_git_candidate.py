"""Candidates: pure functions of their inputs, made apart, kept whole or not at all."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.git.applying import Conflict
from services.git.candidate import Candidate, NoChange, Unrepresentable, keep_candidate, make_candidate
from services.git.change import read_change
from services.git.command import GitCommand
from services.git.failures import CommitMissing
from services.git.inspection import check_out_tree, diff, log, readable_diff
from services.git.mirror import Mirror, has_commit, open_mirror
from services.git.preparation import prepare
from services.git.quarantine import keep_objects, open_quarantine
from services.git.reference_names import candidate_reference
from services.policy.judge import judge
from services.policy.policy import Limits, Policy
from support.repositories import (
    Bench,
    commit,
    git,
    identity,
    make_bench,
    new_file_patch,
    patch_between,
    write,
)

Outcome = Candidate | Conflict | NoChange | Unrepresentable


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return await make_bench(tmp_path)


async def made(bench: Bench, *patches: bytes, parent: str | None = None, **changes: object) -> Outcome:
    async with open_quarantine(bench.mirror) as quarantine:
        return await make_candidate(quarantine, parent or bench.base, patches, identity(**changes))


async def rules_broken(bench: Bench, patch: bytes, policy: Policy | None = None) -> set[tuple[str, str]]:
    async with open_quarantine(bench.mirror) as quarantine:
        outcome = await make_candidate(quarantine, bench.base, [patch], identity())
        refused = outcome.paths if isinstance(outcome, Unrepresentable) else ()
        rest = outcome.rest if isinstance(outcome, Unrepresentable) else outcome
        changes, result = (rest.changes, rest.tree) if isinstance(rest, Candidate) else ((), bench.base)
        policy = policy or Policy()
        change = await read_change(quarantine, changes, result, refused, policy.limits)
        return {(violation.rule, violation.path) for violation in judge(change, policy)}


async def test_the_same_inputs_give_the_same_commit_in_two_mirrors(bench: Bench, tmp_path: Path) -> None:
    other = await open_mirror(GitCommand(), tmp_path / "elsewhere", f"file://{bench.repository}")
    await prepare(other)
    patch = new_file_patch("src/new.py", "x = 1\n")
    first = await made(bench, patch)
    assert isinstance(first, Candidate)
    assert await made(bench, patch) == first
    assert await made(Bench(bench.repository, other, bench.base), patch) == first


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": 2},
        {"event_id": "another"},
        {"run_id": "shop-2"},
        {"subject": "Other"},
        {"recorded_at": datetime(2027, 1, 1, tzinfo=UTC)},
    ],
)
async def test_any_other_input_gives_another_commit(bench: Bench, changes: dict[str, object]) -> None:
    patch = new_file_patch("a", "1\n")
    one, other = await made(bench, patch), await made(bench, patch, **changes)
    assert isinstance(one, Candidate)
    assert isinstance(other, Candidate)
    assert one.commit != other.commit
    assert one.tree == other.tree


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        identity(recorded_at=datetime(2026, 1, 1))


async def test_the_commit_says_where_it_comes_from_and_an_agents_look_alikes_are_gone(bench: Bench) -> None:
    body = (
        "It totals.\nAutopack-Run: forged\n  autopack‐phase : forged\nAuto\u200bpack-Event: forged\n"
        "Ａutopack-Patch: forged\nSigned-off-by: Somebody <a@b>\nNote: this stays\n\x1b[31mred\x00"
    )
    candidate = await bench.candidate(new_file_patch("a", "1\n"), body=body, subject="Total\nReviewed-by: x")
    (newest, first) = await log(bench.mirror, candidate.commit)
    assert newest.message == (
        "Total\n\nIt totals.\nNote: this stays\n[31mred\n\n"
        "Autopack-Run: shop-1\nAutopack-Phase: P1\nAutopack-Attempt: 1\nAutopack-Event: 0190-event\n"
        f"Autopack-Patch: sha256:{'0' * 64}"
    )
    assert first.commit == bench.base
    git(bench.mirror.folder, "fsck", "--strict")


async def test_patches_apply_in_order(bench: Bench) -> None:
    second = commit(bench.repository, {"a": "1\n"})
    third = commit(bench.repository, {"a": "1\n2\n"})
    patches = [
        patch_between(bench.repository, bench.base, second),
        patch_between(bench.repository, second, third),
    ]
    candidate = await made(bench, *patches)
    assert isinstance(candidate, Candidate)
    assert candidate.tree == git(bench.repository, "rev-parse", f"{third}^{{tree}}")
    assert isinstance(await made(bench, *reversed(patches)), Conflict)


async def test_a_patch_merges_with_what_another_phase_did_to_the_same_file(bench: Bench) -> None:
    lines = [f"line {number}\n" for number in range(30)]
    early = commit(bench.repository, {"src/stock.py": "".join(["first\n", *lines])})
    patch = patch_between(bench.repository, bench.base, early)
    moved = await bench.candidate(patch)
    git(bench.repository, "reset", "--quiet", "--hard", bench.base)
    late = commit(bench.repository, {"src/stock.py": "".join([*lines, "last\n"])})
    merged = await made(
        bench, patch_between(bench.repository, bench.base, late), parent=moved.commit, phase_id="P2"
    )
    assert isinstance(merged, Conflict | Candidate)
    assert isinstance(merged, Candidate)
    assert merged.parent == moved.commit


async def test_a_conflict_names_its_paths(bench: Bench) -> None:
    one = commit(bench.repository, {"src/cart.py": "one\n"})
    moved = await bench.candidate(patch_between(bench.repository, bench.base, one))
    git(bench.repository, "reset", "--quiet", "--hard", bench.base)
    two = commit(bench.repository, {"src/cart.py": "two\n"})
    outcome = await made(bench, patch_between(bench.repository, bench.base, two), parent=moved.commit)
    assert isinstance(outcome, Conflict)
    assert outcome.paths == ("src/cart.py",)


@pytest.mark.parametrize("patch", [b"no patch at all", b"diff --git a/a b/a\n@@ -1 +1 @@\n", b"\0\xff" * 100])
async def test_junk_is_a_conflict(bench: Bench, patch: bytes) -> None:
    assert isinstance(await made(bench, patch), Conflict)


async def test_a_plain_unified_diff_applies(bench: Bench) -> None:
    patch = b"--- a/README.md\n+++ b/README.md\n@@ -1 +1,2 @@\n # Shop\n+Open.\n"
    assert isinstance(await made(bench, patch), Candidate)


async def test_a_patch_without_effect_is_named(bench: Bench) -> None:
    assert await made(bench, b"") == NoChange(bench.base)
    second = commit(bench.repository, {"a": "1\n"})
    there, back = (
        patch_between(bench.repository, bench.base, second),
        patch_between(bench.repository, second, bench.base),
    )
    assert await made(bench, there, back) == NoChange(bench.base)


async def test_a_parent_that_is_not_there_is_named(bench: Bench) -> None:
    with pytest.raises(CommitMissing):
        await made(bench, b"", parent="1" * 40)


def hostile(name: str, mode: str = "100644", line: str = "x") -> bytes:
    head = f'diff --git "a/{name}" "b/{name}"\nnew file mode {mode}\n--- /dev/null\n+++ "b/{name}"\n'
    return f"{head}@@ -0,0 +1 @@\n+{line}\n".encode()


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (".git/config", "git_directory"),
        (".GIT/hooks/pre-commit", "git_directory"),
        ("a/.Git/config", "git_directory"),
        ("git~1/config", "git_directory"),
        (".g\\342\\200\\214it/config", "git_directory"),
        ("../outside", "impossible_path"),
        ("/etc/passwd", "impossible_path"),
        ("a/../../b", "impossible_path"),
        (".gitmodules", "gitmodules"),
        ("a\\tb", "unreadable_name"),
        ("a\\377", "unreadable_name"),
        ("\\342\\200\\256a", "unreadable_name"),
        (".github/workflows/x.yml", "ci_configuration"),
    ],
)
async def test_a_hostile_path_in_a_patch_becomes_a_violation(bench: Bench, name: str, rule: str) -> None:
    found = await rules_broken(bench, hostile(name) + hostile("good.py"))
    assert rule in {broken for broken, _ in found}, found


async def test_all_hostile_paths_are_named_with_what_else_is_wrong(bench: Bench) -> None:
    names = [f".GIT/x{number}" for number in range(60)]
    patch = b"".join(map(hostile, [*names, "../up", "CODEOWNERS"])) + hostile("link", "120000", "/etc/passwd")
    found = await rules_broken(bench, patch)
    assert {("git_directory", name) for name in names} < found
    assert {("impossible_path", "../up"), ("code_owners", "CODEOWNERS"), ("symlink", "link")} < found


async def test_many_impossible_paths_hide_nothing_that_comes_after_them(bench: Bench) -> None:
    names = [f"../x{number}" for number in range(70)] + [f"a/./x{number}" for number in range(70)]
    found = await rules_broken(bench, b"".join(map(hostile, [*names, "d/.git/x", "CODEOWNERS"])))
    assert found == {
        *(("impossible_path", name) for name in names),
        ("git_directory", "d/.git/x"),
        ("code_owners", "CODEOWNERS"),
    }


async def test_more_impossible_paths_than_git_can_be_told_of_are_named(bench: Bench) -> None:
    names = [f"../{number}" for number in range(20_000)] + [f"../{'x' * 60_000}"]
    found = await rules_broken(bench, b"".join(map(hostile, names)))
    assert {path for _, path in found} >= set(names)


@pytest.mark.parametrize("name", ["a\\nb/.git/x", ".git/a\\nb", "a\\nb/../../x", "a\\001/.git/x"])
async def test_a_line_feed_hides_no_impossible_path(bench: Bench, name: str) -> None:
    found = await rules_broken(bench, hostile(name) + hostile("CODEOWNERS"))
    assert {rule for rule, _ in found} & {"git_directory", "impossible_path"}
    assert ("code_owners", "CODEOWNERS") in found


async def test_a_line_feed_hides_no_path_beyond_a_link(bench: Bench) -> None:
    links = hostile("d", "120000", "/etc") + hostile("d/a\\nb") + hostile("d/c")
    found = await rules_broken(bench, links)
    assert {("symlink", "d"), ("impossible_path", "d/a\\nb"), ("impossible_path", "d/c")} <= found


async def test_writing_through_a_link_is_refused(bench: Bench) -> None:
    found = await rules_broken(bench, hostile("d", "120000", "/etc") + hostile("d/passwd"))
    assert {("symlink", "d"), ("impossible_path", "d/passwd")} <= found


async def test_a_gitlink_in_a_patch_becomes_a_violation(bench: Bench) -> None:
    link = f"Subproject commit {'1' * 40}"
    assert await rules_broken(bench, hostile("sub", "160000", link)) == {("gitlink", "sub")}


async def test_an_executable_bit_alone_becomes_a_violation(bench: Bench) -> None:
    patch = b"diff --git a/README.md b/README.md\nold mode 100644\nnew mode 100755\n"
    assert await rules_broken(bench, patch) == {("executable", "README.md")}
    assert await rules_broken(bench, patch, Policy(allow=("executable",))) == set()


async def test_a_bare_repository_is_seen_in_the_result(bench: Bench) -> None:
    patch = b"".join(map(hostile, ["x/HEAD", "x/objects/a", "x/refs/heads/main"]))
    assert await rules_broken(bench, patch) == {("bare_repository", "x")}


async def test_what_was_not_kept_never_reaches_the_mirror(bench: Bench) -> None:
    before = files_of(bench.mirror)
    candidate = await made(bench, new_file_patch("a", "1\n"))
    assert isinstance(candidate, Candidate)
    assert files_of(bench.mirror) == before
    assert not await has_commit(bench.mirror, candidate.commit)


async def test_keeping_is_repeatable_at_every_step(bench: Bench) -> None:
    reference = candidate_reference("shop-1", "P1", "request-1")
    for _ in range(3):
        candidate = await bench.candidate(new_file_patch("a", "1\n"))
        assert git(bench.mirror.folder, "rev-parse", reference) == candidate.commit
    assert list(bench.mirror.quarantines.iterdir()) == []
    git(bench.mirror.folder, "fsck", "--strict")


def files_of(mirror: Mirror) -> set[Path]:
    return {path for path in mirror.folder.rglob("*") if path.is_file()}


async def test_a_lock_left_in_the_mirror_by_a_killed_git_is_in_nobodys_way(bench: Bench) -> None:
    reference = candidate_reference("shop-1", "P1", "request-1")
    write(bench.mirror.folder, {f"{reference}.lock": ""})
    candidate = await bench.candidate(new_file_patch("a", "1\n"))
    assert git(bench.mirror.folder, "rev-parse", reference) == candidate.commit


async def test_many_candidates_at_once_disturb_each_other_not(bench: Bench) -> None:
    outcomes = await asyncio.gather(
        *(bench.candidate(new_file_patch(f"f{n}", f"{n}\n"), phase_id=f"P{n}") for n in range(12))
    )
    assert len({candidate.commit for candidate in outcomes}) == 12
    git(bench.mirror.folder, "fsck", "--strict")


async def test_a_candidate_takes_five_processes_judging_it_three_and_keeping_it_none(bench: Bench) -> None:
    before = bench.mirror.git.started
    async with open_quarantine(bench.mirror) as quarantine:
        candidate = await make_candidate(quarantine, bench.base, [new_file_patch("a", "1\n")], identity())
        assert bench.mirror.git.started - before == 5
        assert isinstance(candidate, Candidate)
        await read_change(quarantine, candidate.changes, candidate.tree)
        assert bench.mirror.git.started - before == 8
        await keep_objects(quarantine, candidate.commit)
        await keep_candidate(bench.mirror, candidate_reference("shop-1", "P1", "request-1"), candidate.commit)
        assert bench.mirror.git.started - before == 8


@pytest.mark.parametrize(
    ("limits", "rule"), [(Limits(changed_bytes=20), "changed_bytes"), (Limits(changed_files=1), "changed_files")]
)
async def test_of_a_change_that_is_too_large_sizes_and_names_are_judged_and_nothing_is_read(
    bench: Bench, limits: Limits, rule: str
) -> None:
    marker = "<<<<<<< here\n"
    patch = new_file_patch("pyproject.toml", marker) + new_file_patch(".github/workflows/a.yml", marker)
    assert {name for name, _ in await rules_broken(bench, patch)} > {"conflict_marker", "build_backend"}
    found = await rules_broken(bench, patch, Policy(limits=limits))
    assert found == {(rule, "."), ("ci_configuration", ".github/workflows/a.yml")}


async def test_a_file_above_the_limit_is_not_read_and_the_others_are(bench: Bench) -> None:
    marker = "<<<<<<< here\n"
    patch = new_file_patch("large", marker * 2) + new_file_patch("small", marker)
    limits = Limits(file_size_bytes=len(marker), binary_files=0)
    found = await rules_broken(bench, patch, Policy(limits=limits))
    assert found == {("file_size", "large"), ("conflict_marker", "small")}


async def test_a_tree_is_checked_out_as_plain_files(bench: Bench, tmp_path: Path) -> None:
    candidate = await bench.candidate(new_file_patch("a", "1\n"))
    await check_out_tree(bench.mirror, candidate.commit, tmp_path / "tree")
    names = {path.name for path in (tmp_path / "tree").iterdir()}
    assert names == {"a", "src", "README.md", ".gitignore"}
    with pytest.raises(CommitMissing):
        await check_out_tree(bench.mirror, "1" * 40, tmp_path / "other")


async def test_a_diff_can_be_applied_and_one_for_readers_can_be_read(bench: Bench) -> None:
    candidate = await bench.candidate(new_file_patch("a", "1\n"))
    patch = await diff(bench.mirror, bench.base, candidate.commit)
    assert await made(bench, patch) == candidate
    assert b"+1\n" in await readable_diff(bench.mirror, bench.base, candidate.commit)
    with pytest.raises(CommitMissing):
        await diff(bench.mirror, bench.base, "1" * 40)
