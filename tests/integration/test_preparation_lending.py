"""What is prepared once is lent to agents and checks, in a sandbox and without one."""

import sys
from pathlib import Path
from typing import Any

import pytest

from events.configuration import Check, Preparation
from events.families.build import BuildFailed, BuildSucceeded
from events.families.failure import FailureClass
from events.families.verify import CheckOutcome, ChecksFailed, ChecksPassed
from services.agents import CommandAgent
from support.repositories import commit, git, new_file_patch
from support.workers import Home, open_home, shell

_RUN = "import subprocess, sys; sys.exit(subprocess.call(['sh', '-c', sys.argv[1]]))"
TOOLS = Preparation(argv=("sh", "-c", "mkdir -p .tools/bin && echo made >> .tools/made"), paths=(".tools",))


@pytest.fixture(params=["bubblewrap", "none"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return await open_home(tmp_path, request.param)


@pytest.fixture
async def contained_home(tmp_path: Path) -> Home:
    return await open_home(tmp_path)


def sh(source: str, **options: Any) -> Check:
    return Check(name="tests", argv=("sh", "-c", source), **options)


def preparing(source: str, *paths: str, **options: Any) -> Preparation:
    return Preparation(argv=("sh", "-c", source), paths=paths, **options)


async def checked(
    home: Home, preparation: Preparation, *checks: Check, patch: bytes | None = None, **request: Any
) -> ChecksPassed | ChecksFailed:
    reference = await home.store.put(patch or new_file_patch("made", "x\n"))
    accepted, origin = await home.accepted([reference], allow=("**", "executable"))
    values = {"prepare": preparation, "tries": 1, **request}
    assignment = home.assignment(home.checks_request(accepted, origin, checks, **values))
    answer = await home.verifier().perform(assignment)
    assert home.left_over() == []
    return answer


async def green(home: Home, preparation: Preparation, source: str, **options: Any) -> str:
    """What a green check printed."""
    answer = await checked(home, preparation, sh(source), **options)
    assert isinstance(answer, ChecksPassed), answer
    return answer.checks[0].output


async def built(
    home: Home, preparation: Preparation, agent: CommandAgent, **request: Any
) -> BuildSucceeded | BuildFailed:
    values = {"prepare": preparation, "prepare_at": home.base, **request}
    answer = await home.builder(agent).perform(home.assignment(home.build_request(**values)))
    assert home.left_over() == []
    return answer


async def test_a_preparation_is_made_once_and_serves_checks_and_agents(home: Home):
    assert await green(home, TOOLS, "cat .tools/made") == "made"
    assert await green(home, TOOLS, "cat .tools/made") == "made"
    answer = await built(home, TOOLS, shell("cat .tools/made > copy"))
    assert isinstance(answer, BuildSucceeded), answer
    assert answer.files == ("copy",)
    assert b"+made\n" in await home.store.get(answer.patch.digest)
    assert len([line for line in home.lines if line.startswith("[prepare]")]) == 1


async def test_what_is_lent_is_no_part_of_a_patch_whatever_an_agent_does_to_it(home: Home):
    source = (
        "echo mine >> .tools/made; touch .tools/new; rm -rf .tools; git add -A -f; git commit -qm all; echo > own"
    )
    answer = await built(
        home,
        preparing("mkdir -p .tools a; echo 1 > .tools/made; echo 2 > a/file", ".tools", "a/file"),
        shell(source),
    )
    assert isinstance(answer, BuildSucceeded), answer
    assert answer.files == ("own",)
    assert (
        await green(
            home,
            preparing("mkdir -p .tools a; echo 1 > .tools/made; echo 2 > a/file", ".tools", "a/file"),
            "cat .tools/made a/file",
        )
        == "1\n2"
    )


async def test_in_a_sandbox_what_is_lent_cannot_be_changed(contained_home: Home):
    source = "if echo mine >> .tools/made; then exit 1; fi; if touch .tools/new; then exit 1; fi; cat .tools/made"
    assert (await green(contained_home, TOOLS, source)).endswith("made")


async def test_a_virtual_environment_works_in_checks_and_agents(contained_home: Home, tmp_path: Path):
    """Its scripts and settings name the place in which it was made, and its interpreter lies elsewhere."""
    home = contained_home
    setup = (
        f"{sys.executable} -m venv --without-pip .venv && "
        'printf \'#!%s\\nprint("tool runs")\\n\' "$PWD/.venv/bin/python" > .venv/bin/tool && '
        "chmod 755 .venv/bin/tool"
    )
    preparation = Preparation(argv=(sys.executable, "-c", _RUN, setup), paths=(".venv",))
    show = "import sys; print(sys.prefix)"
    answer = await checked(
        home,
        preparation,
        Check(name="python", argv=(".venv/bin/python", "-c", show)),
        Check(name="tool", argv=(".venv/bin/tool",)),
        Check(name="absent", argv=(".venv/bin/absent",)),
        sh(".venv/bin/tool && . .venv/bin/activate && tool && python -c 'import json'"),
    )
    outputs = [(check.outcome, check.output) for check in answer.checks]
    assert outputs == [
        (CheckOutcome.PASSED, "/autopack/workspace/.venv"),
        (CheckOutcome.PASSED, "tool runs"),
        (CheckOutcome.NOT_STARTED, "no such executable: .venv/bin/absent"),
        (CheckOutcome.PASSED, "tool runs\ntool runs"),
    ]
    assert isinstance(answer, ChecksFailed)
    assert answer.failure is FailureClass.RED_CHECKS
    build = await built(home, preparation, shell(".venv/bin/tool > said"))
    assert isinstance(build, BuildSucceeded), build
    assert b"+tool runs\n" in await home.store.get(build.patch.digest)


async def test_without_a_sandbox_a_script_names_the_place_where_it_was_made(tmp_path: Path):
    home = await open_home(tmp_path, "none")
    setup = (
        "mkdir tools; echo 'echo the original' > tools/inner; "
        "printf '#!/bin/sh\\nsh %s/tools/inner\\n' $PWD > tools/run; chmod 755 tools/run"
    )
    answer = await checked(home, preparing(setup, "tools"), Check(name="run", argv=("tools/run",)))
    assert answer.checks[0].output == "the original"


async def test_a_host_path_does_not_show(contained_home: Home):
    home = contained_home
    output = await green(home, preparing("mkdir t; { pwd; env; } > t/there", "t"), "cat t/there; pwd; env")
    assert output.splitlines()[0] == "/autopack/workspace"
    assert str(home.folder.parent) not in output


async def test_the_trees_own_files_show_beside_what_was_prepared(home: Home):
    commit(home.repository, {"vendor/own.py": "own\n", "vendor/deep/own.py": "deep\n", "vendor/gone.py": "gone\n"})
    removal = (
        b"diff --git a/vendor/gone.py b/vendor/gone.py\ndeleted file mode 100644\n"
        b"--- a/vendor/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n"
        b"diff --git a/vendor/own.py b/vendor/own.py\n--- a/vendor/own.py\n+++ b/vendor/own.py\n"
        b"@@ -1 +1 @@\n-own\n+changed\n"
    )
    source = "cd vendor; mkdir more; echo lib > lib.py; echo x > more/x; echo d > deep/lib.py; echo no > own.py"
    preparation = preparing(source, "vendor")
    shown = "cd vendor; find . -type f | sort; cat own.py lib.py deep/own.py deep/lib.py"
    expected = [
        "./deep/lib.py",
        "./deep/own.py",
        "./lib.py",
        "./more/x",
        "./own.py",
        "changed",
        "lib",
        "deep",
        "d",
    ]
    assert (await green(home, preparation, shown, patch=removal)).split() == expected
    answer = await built(
        home, preparation, shell("cat vendor/lib.py vendor/own.py > out; echo new > vendor/deep/new")
    )
    assert isinstance(answer, BuildSucceeded), answer
    assert answer.files == ("out", "vendor/deep/new")


async def test_a_candidate_cannot_put_its_own_tool_in_the_place_of_a_prepared_one(contained_home: Home):
    patch = (
        b"diff --git a/.tools/made b/.tools/made\nnew file mode 100755\n--- /dev/null\n+++ b/.tools/made\n"
        b"@@ -0,0 +1 @@\n+forged\n"
    )
    assert await green(contained_home, TOOLS, "cat .tools/made", patch=patch) == "made"


async def test_a_link_in_the_candidates_tree_leads_nothing_out_of_it(home: Home, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (home.repository / "a").symlink_to(outside)
    commit(home.repository, {})
    base = git(home.repository, "rev-parse", "main~1")
    preparation = preparing("mkdir -p a/b; echo 1 > a/b/file", "a/b")
    await green(home, preparation, "ls a/b 2>&1 || true", base_commit=base)
    assert list(outside.iterdir()) == []


async def test_what_its_maker_alone_could_read_is_readable_for_whoever_it_is_lent_to(home: Home):
    preparation = preparing(
        "umask 077; mkdir -p t/d; echo 1 > t/d/file; echo 'echo ran' > t/x; chmod 700 t/x", "t"
    )
    assert await green(home, preparation, "cat t/d/file; ./t/x") == "1\nran"


async def test_a_failing_preparation_ends_builds_and_checks_with_what_it_said(home: Home):
    broken = preparing("echo no such package >&2; exit 4", ".tools")
    answer = await checked(home, broken, sh("true"))
    assert isinstance(answer, ChecksFailed)
    assert answer.failure is FailureClass.PREPARATION
    assert answer.failure.is_environment
    assert "exited with code 4" in answer.reason
    assert "no such package" in answer.reason
    build = await built(home, broken, shell("touch never"))
    assert isinstance(build, BuildFailed)
    assert build.failure is FailureClass.PREPARATION
    hanging = preparing("sleep 600", ".tools", timeout_seconds=0.3)
    answer = await checked(home, hanging, sh("true"))
    assert isinstance(answer, ChecksFailed)
    assert "ran longer than 0.3 s" in answer.reason


@pytest.mark.parametrize("path", ["../out", "/etc", ".", "", "a/../../b", ".git/hooks", "a\nb"])
async def test_a_path_out_of_the_tree_is_refused(contained_home: Home, path: str):
    for preparation in (preparing("true", path), preparing("true", keyed_by=(path,))):
        answer = await checked(contained_home, preparation, sh("true"))
        assert isinstance(answer, ChecksFailed)
        assert answer.failure is FailureClass.PREPARATION
        assert "is no path within the tree" in answer.reason


@pytest.mark.parametrize("source", ["true", "ln -s /etc tools", "mkdir x; ln -s /etc x/tools", "mkfifo tools"])
async def test_a_path_that_was_not_made_or_leads_elsewhere_is_named(contained_home: Home, source: str):
    path = "x/tools/ssl" if "x/tools" in source else "tools"
    answer = await checked(contained_home, preparing(source, path), sh("true"))
    assert isinstance(answer, ChecksFailed)
    assert answer.failure is FailureClass.PREPARATION
    assert path in answer.reason


async def test_lock_files_of_the_candidate_make_another_result_and_its_other_files_do_not(home: Home):
    commit(home.repository, {"requirements.txt": "one\n", "setup.sh": "mkdir t; cp requirements.txt t/\n"})
    preparation = Preparation(argv=("sh", "setup.sh"), keyed_by=("requirements.txt",), paths=("t",))
    assert await green(home, preparation, "cat t/requirements.txt") == "one"
    changed = (
        b"diff --git a/requirements.txt b/requirements.txt\n--- a/requirements.txt\n+++ b/requirements.txt\n"
        b"@@ -1 +1 @@\n-one\n+two\n"
        b"diff --git a/setup.sh b/setup.sh\n--- a/setup.sh\n+++ b/setup.sh\n"
        b"@@ -1 +1 @@\n-mkdir t; cp requirements.txt t/\n+mkdir t; echo forged > t/requirements.txt\n"
    )
    assert await green(home, preparation, "cat t/requirements.txt", patch=changed) == "two"
    assert len([line for line in home.lines if line.startswith("[prepare]")]) == 2


async def test_lock_files_that_cannot_be_prepared_for_are_the_candidates_fault(contained_home: Home):
    home = contained_home
    commit(home.repository, {"locks/a.txt": "good\n"})
    preparation = preparing("mkdir t; grep -q good locks/a.txt", "t", keyed_by=("locks",))
    assert await green(home, preparation, "true") == ""
    changed = (
        b"diff --git a/locks/a.txt b/locks/a.txt\n--- a/locks/a.txt\n+++ b/locks/a.txt\n@@ -1 +1 @@\n-good\n+bad\n"
    )
    answer = await checked(home, preparation, sh("true"), patch=changed)
    assert isinstance(answer, ChecksFailed)
    assert answer.failure is FailureClass.RED_CHECKS
    assert not answer.failure.is_environment


async def test_the_preparation_has_network_and_the_checks_have_none(contained_home: Home):
    interfaces = "grep -c : /proc/net/dev"
    preparation = preparing(f"mkdir t; {interfaces} > t/count", "t")
    with_network, without = (await green(contained_home, preparation, f"cat t/count; {interfaces}")).split()
    assert int(without) == 1
    assert int(with_network) >= 1
    assert Path("/proc/net/dev").read_text().count(":") == int(with_network)
