from pathlib import Path

import pytest

from events.configuration import Check, Preparation
from events.families.failure import FailureClass
from events.families.run import PrepareFailed, RunPrepared
from support.repositories import commit, git, make_repository, write
from support.workers import EVENT_LIMIT_BYTES, RUN, Home, event_bytes, open_home

TOML = """
[prepare]
argv = ["make", "setup"]
keyed_by = ["requirements.txt"]
paths = [".venv"]
[checks.normal]
tests = { argv = ["make", "test"], junit = "report.xml" }
[policy]
protected = ["infra/**"]
"""


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return await open_home(tmp_path, "none")


async def answered(
    home: Home, base: str | None = None, repository: Path | str | None = None
) -> RunPrepared | PrepareFailed:
    answer = await home.applier().perform(home.assignment(home.prepare_request(base, repository)))
    assert isinstance(answer, RunPrepared | PrepareFailed)
    assert event_bytes(answer) < EVENT_LIMIT_BYTES
    return answer


async def prepared(home: Home, base: str | None = None, repository: Path | str | None = None) -> RunPrepared:
    answer = await answered(home, base, repository)
    assert isinstance(answer, RunPrepared), answer
    return answer


async def refused(home: Home, base: str | None = None, repository: Path | str | None = None) -> PrepareFailed:
    answer = await answered(home, base, repository)
    assert isinstance(answer, PrepareFailed), answer
    return answer


async def test_a_run_starts_from_the_default_branch_with_the_configuration_there(home: Home):
    commit(home.repository, {"autopack.toml": TOML})
    answer = await prepared(home)
    assert (answer.base_commit, answer.default_branch) == (home.base, "main")
    assert answer.configuration.prepare == Preparation(
        argv=("make", "setup"), keyed_by=("requirements.txt",), paths=(".venv",)
    )
    assert answer.configuration.checks.normal == (Check(name="tests", argv=("make", "test"), junit="report.xml"),)
    assert answer.configuration.policy.protected == ("infra/**",)


async def test_a_branch_a_tag_and_a_commit_can_be_the_base(home: Home):
    first = home.base
    git(home.repository, "tag", "v1")
    git(home.repository, "branch", "old")
    commit(home.repository, {"a": "1\n"})
    for base in ("v1", "old", first):
        assert (await prepared(home, base)).base_commit == first


async def test_only_the_committed_state_counts(home: Home):
    write(home.repository, {"autopack.toml": "not toml [", "README.md": "dirty\n"})
    git(home.repository, "add", "README.md")
    assert (await prepared(home)).base_commit == home.base
    assert (home.repository / "README.md").read_text() == "dirty\n"


async def test_a_bare_repository_is_accepted(home: Home, tmp_path: Path):
    git(tmp_path, "clone", "--quiet", "--bare", str(home.repository), "bare.git")
    assert (await prepared(home, repository=tmp_path / "bare.git")).base_commit == home.base


async def test_a_repository_that_is_missing_or_empty_is_named(home: Home, tmp_path: Path):
    assert (await refused(home, repository=tmp_path / "no")).failure is FailureClass.REPOSITORY_MISSING
    (tmp_path / "plain").mkdir()
    assert (await refused(home, repository=tmp_path / "plain")).failure is FailureClass.REPOSITORY_MISSING
    assert (await refused(home, repository="ext::sh -c true")).failure is FailureClass.REPOSITORY_MISSING
    git(tmp_path, "init", "--quiet", "empty")
    assert (await refused(home, repository=tmp_path / "empty")).failure is FailureClass.REPOSITORY_EMPTY


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_names_that_leave_no_room_for_the_runs_refs_are_told_before_anything_is_spent(
    home: Home, scheme: str
):
    for name in (
        "refs/heads/autonomous",
        f"refs/heads/autonomous/{RUN}/wip",
        "refs/tags/autonomous",
        f"refs/tags/autonomous/{RUN}",
        f"refs/tags/autonomous/{RUN}/tier-T1/phase-P1",
        "refs/autopack",
        "refs/autopack/fence",
    ):
        git(home.repository, "update-ref", name, home.base)
        answer = await refused(home, repository=f"{scheme}{home.repository}")
        assert answer.failure is FailureClass.BRANCH_TAKEN
        assert answer.reason.startswith(f"{name} ")
        assert "remove" in answer.reason
        git(home.repository, "update-ref", "-d", name)
    git(home.repository, "update-ref", f"refs/autopack/fence/{RUN}", home.base)
    await prepared(home, repository=f"{scheme}{home.repository}")


@pytest.mark.parametrize("base", ["no-such-branch", "--help", " ", "a\nb", "0" * 39 + "1"])
async def test_a_base_that_is_not_there_is_named(home: Home, base: str):
    answer = await refused(home, base)
    assert answer.failure is FailureClass.BASE_MISSING


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[checks", "is not TOML"),
        ("[checks.normal]\ntests = { argv = [] }\n", "checks.normal.tests.argv"),
        ("[unknown]\n", "unknown"),
        ("[prepare]\nargv = 1\n", "prepare.argv"),
        (b"\xff\xfe", "not a readable text file"),
    ],
)
async def test_a_configuration_that_cannot_be_used_is_named_with_its_fault(
    home: Home, text: str | bytes, said: str
):
    commit(home.repository, {"autopack.toml": text})
    answer = await refused(home)
    assert answer.failure is FailureClass.CONFIGURATION
    assert said in answer.reason


async def test_a_configuration_that_no_event_could_hold_is_refused(home: Home, tmp_path: Path):
    many = "".join(f'check-{number} = {{ argv = ["true", "{"x" * 50}"] }}\n' for number in range(1000))
    repository = make_repository(tmp_path / "many", {"autopack.toml": f"[checks.normal]\n{many}"})
    answer = await refused(home, repository=repository)
    assert answer.failure is FailureClass.CONFIGURATION
    assert "[checks] takes" in answer.reason
    commit(repository, {"autopack.toml": f'[policy]\nprotected = ["{"x" * 4000}"]\n'})
    assert isinstance(await answered(home, repository=repository), RunPrepared)
    faults = "".join(f"key-{number} = 1\n" for number in range(2000))
    commit(repository, {"autopack.toml": faults})
    assert (await refused(home, repository=repository)).failure is FailureClass.CONFIGURATION
