from pathlib import Path
from typing import Any

import pytest

from events.families.apply import PatchAccepted, PatchRejected
from events.families.base import ArtifactRef
from events.families.failure import FailureClass
from services.git.failures import GitFailed
from support.heartbeat import Heartbeat
from support.repositories import commit, git, new_file_patch
from support.workers import EVENT_LIMIT_BYTES, Home, event_bytes, open_home

PRIVATE_KEY = "-----BEGIN " + "PRIVATE KEY-----"


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path, "none")


def added(name: str, line: str = "x", mode: str = "100644") -> bytes:
    """A patch that adds a file of one line; the name is in git's quotes."""
    head = f'diff --git "a/{name}" "b/{name}"\nnew file mode {mode}\n--- /dev/null\n+++ "b/{name}"\n'
    return f"{head}@@ -0,0 +1 @@\n+{line}\n".encode()


async def answered(home: Home, *patches: bytes, **request: Any) -> PatchAccepted | PatchRejected:
    references = [await home.store.put(patch) for patch in patches]
    answer = await home.applier().perform(home.assignment(home.apply_request(references, **request)))
    assert isinstance(answer, PatchAccepted | PatchRejected)
    assert home.left_over() == []
    assert event_bytes(answer) < EVENT_LIMIT_BYTES
    return answer


async def accepted(home: Home, *patches: bytes, **request: Any) -> PatchAccepted:
    answer = await answered(home, *patches, **request)
    assert isinstance(answer, PatchAccepted), answer
    return answer


async def rejected(home: Home, *patches: bytes, **request: Any) -> PatchRejected:
    answer = await answered(home, *patches, **request)
    assert isinstance(answer, PatchRejected), answer
    return answer


async def mirror_git(home: Home, *arguments: str) -> str:
    mirror = await home.candidates.mirror(str(home.repository))
    return git(mirror.folder, *arguments)


async def test_a_clean_patch_becomes_a_candidate_in_the_mirror_alone(home: Home):
    before = git(home.repository, "for-each-ref")
    answer = await accepted(home, new_file_patch("src/new.py", "new = 1\n"))
    assert (answer.parent, answer.files, answer.concerns) == (home.base, ("src/new.py",), ())
    assert await mirror_git(home, "rev-parse", f"{answer.candidate}^{{tree}}") == answer.tree
    references = await mirror_git(home, "for-each-ref", "--format=%(refname) %(objectname)", "refs/autopack")
    assert references == f"refs/autopack/run-1/P1/ApplyRequested-1 {answer.candidate}"
    message = await mirror_git(home, "log", "-1", "--format=%B", answer.candidate)
    assert message.startswith("Total the cart\n\nAutopack-Run: run-1\n")
    assert git(home.repository, "for-each-ref") == before


async def test_an_empty_scope_is_no_scope_at_all_and_none_is_everything(home: Home):
    patch = new_file_patch("src/new.py", "new = 1\n")
    answer = await rejected(home, patch, scope=())
    assert [(found.rule, found.path) for found in answer.violations] == [("scope", "src/new.py")]
    await accepted(home, patch, scope=None)


async def test_the_same_request_gives_the_same_commit_again_and_in_another_home(home: Home):
    patches = new_file_patch("a", "1\n"), new_file_patch("b", "2\n")
    first = await accepted(home, *patches)
    again = await accepted(home, *patches)
    elsewhere = await accepted(home.elsewhere("second-home"), *patches)
    assert first.candidate == again.candidate == elsewhere.candidate


async def test_what_an_auditor_should_see_comes_with_the_acceptance(home: Home):
    commit(home.repository, {"tests/test_cart.py": "def test_total():\n    assert True\n"})
    removal = (
        b"diff --git a/tests/test_cart.py b/tests/test_cart.py\ndeleted file mode 100644\n"
        b"--- a/tests/test_cart.py\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-def test_total():\n-    assert True\n"
    )
    answer = await accepted(home, removal)
    assert {concern.path for concern in answer.concerns} == {"tests/test_cart.py"}


HOSTILE = {
    "scope": added("elsewhere.py"),
    "protected": added("infra/main.tf"),
    "git_directory": added(".GIT/config"),
    "impossible_path": added("../outside"),
    "gitmodules": added(".gitmodules"),
    "symlink": added("src/link", "/etc/passwd", "120000"),
    "gitlink": added("src/sub", f"Subproject commit {'1' * 40}", "160000"),
    "executable": added("src/run.sh", mode="100755"),
    "bare_repository": b"".join(map(added, ("src/x/HEAD", "src/x/objects/a", "src/x/refs/heads/main"))),
    "unreadable_name": added("src/a\\tb"),
    "reserved_name": added("src/CON"),
    "non_ascii_name": added("src/\\303\\244.py"),
    "colliding_name": added("src/Same") + added("src/same"),
    "ci_configuration": added(".github/workflows/x.yml"),
    "code_owners": added("CODEOWNERS"),
    "secret": added("src/key.pem", PRIVATE_KEY),
    "conflict_marker": added("src/merge.py", "<<<<<<< ours"),
    "lfs_pointer": added("src/large.bin", "version https://git-lfs.github.com/spec/v1"),
    "hidden_text": added("src/hidden.py", "a\u202eb"),
    "line_length": added("src/long.py", "x" * 30_000),
}


async def test_every_kind_of_violation_is_named_at_once(home: Home):
    answer = await rejected(home, b"".join(HOSTILE.values()), scope=("src/**",), protected=("infra/**",))
    assert answer.failure is FailureClass.VIOLATIONS
    found = {violation.rule for violation in answer.violations}
    singular = {rule.removesuffix("s") for rule in found}
    assert [rule for rule in HOSTILE if rule.removesuffix("s") not in singular] == [], found
    assert all(violation.path and violation.message for violation in answer.violations)
    assert await mirror_git(home, "for-each-ref", "refs/autopack") == ""


async def test_what_a_phase_allows_may_be_touched(home: Home):
    patch = added(".github/workflows/x.yml") + added("run.sh", mode="100755") + added("\\303\\244.txt")
    allow = (".github/workflows/**", "executable", "non_ascii_names")
    answer = await accepted(home, patch, allow=allow)
    assert answer.files == (".github/workflows/x.yml", "run.sh", "ä.txt")


async def test_thousands_of_violations_are_counted_and_fit_into_an_event(home: Home):
    awkward = "out/" + "\\001" * 60
    patch = b"".join(added(f"{awkward}-{number}", "\u202e" * 200) for number in range(1500))
    answer = await rejected(home, patch, scope=("src/**",))
    assert answer.failure is FailureClass.VIOLATIONS
    more = answer.violations[-1]
    assert (more.rule, more.message.endswith("more")) == ("more", True)
    total = int(answer.reason.split(" ")[0])
    assert total >= 4500
    assert len(answer.violations) - 1 + int(more.message.split(" ")[1]) == total


async def test_thousands_of_files_are_counted_and_fit_into_an_event(home: Home):
    patch = b"".join(added(f"src/{'d' * 150}/{'e' * 100}/{number}.txt") for number in range(1900))
    answer = await accepted(home, patch)
    assert answer.files[-1].endswith("more")


async def test_a_conflict_names_its_paths(home: Home):
    patch = (
        b"diff --git a/README.md b/README.md\n--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-# Other\n+# New\n"
    )
    answer = await rejected(home, patch)
    assert answer.failure is FailureClass.CONFLICT
    assert "README.md" in answer.reason
    junk = await rejected(home, b"this is no patch\n")
    assert junk.failure is FailureClass.CONFLICT


async def test_patches_without_effect_are_named(home: Home):
    removal = b"diff --git a/a b/a\ndeleted file mode 100644\n--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n"
    answer = await rejected(home, new_file_patch("a", "1\n"), removal)
    assert answer.failure is FailureClass.NO_CHANGE


async def test_hostile_paths_alone_are_violations_and_no_empty_change(home: Home):
    answer = await rejected(home, added("../outside"))
    assert (answer.failure, answer.violations[0].path) == (FailureClass.VIOLATIONS, "../outside")


async def test_a_patch_that_unpacks_to_gigabytes_is_too_large(home: Home):
    patch = b"diff --git a/a b/a\nnew file mode 100644\nGIT binary patch\nliteral 4000000000\nzc\n"
    assert (await rejected(home, patch)).failure is FailureClass.TOO_LARGE


async def test_a_repository_or_parent_that_is_gone_is_named(home: Home):
    patch = new_file_patch("a", "1\n")
    missing = await rejected(home, patch, repository="/no/such/repository")
    assert missing.failure is FailureClass.REPOSITORY_MISSING
    unknown = await rejected(home, patch, parent="0" * 39 + "1")
    assert unknown.failure is FailureClass.REPOSITORY_UNREACHABLE
    none = await rejected(home, patch, parent=None)
    assert none.failure is FailureClass.REPOSITORY_MISSING


async def test_a_git_that_fails_is_a_fault_of_ours_and_no_rejection(home: Home):
    reference: ArtifactRef = await home.store.put(new_file_patch("a", "1\n"))
    mirror = await home.candidates.at_commit(str(home.repository), home.base)
    (mirror.folder / "HEAD").unlink()
    with pytest.raises(GitFailed):
        await home.applier().perform(home.assignment(home.apply_request([reference])))


async def test_a_large_file_of_short_lines_is_refused_for_its_size_and_holds_nobody_up(home: Home):
    patch = new_file_patch("src/large.txt", "a\n" * 10_000_000)
    async with Heartbeat() as heart:
        answer = await rejected(home, patch)
    assert [(found.rule, found.path) for found in answer.violations] == [("file_size", "src/large.txt")]
    assert "20000000 bytes, where 5000000 are allowed" in answer.violations[0].message
    assert heart.longest_work_seconds < 1
    assert heart.longest_pause_seconds < 15
