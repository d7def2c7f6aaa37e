"""Hostile changes: refused with every violation named, and nothing of them reaches the repository."""

from pathlib import Path
from typing import Any

import pytest

from services.settings import Settings
from support.builds import python_agent, repository, request, running
from support.repositories import git

HOSTILE = """
def put(name, content='x\\n', mode=0o644):
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
def attack():
    put('.github/workflows/publish.yml', 'on: push\\n')
    put('autopack.toml', '[checks.normal]\\n')
    put('src/conftest.py', 'import os\\n')
    put('src/run.sh', '#!/bin/sh\\n', 0o755)
    put('elsewhere/file.txt')
    put('src/key.txt', '-----BEGIN RSA ' + 'PRIVATE KEY-----\\n')
    put('src/merge.txt', '<<<<<<< ours\\n=======\\n>>>>>>> theirs\\n')
    put('src/hidden.txt', 'a\\u202eb\\n')
    put('src/caf\\u00e9.txt')
    put('src/aux.txt')
    put('.gitmodules', '[submodule "x"]\\n')
    put('src/pointer.bin', 'version https://git-lfs.github.com/spec/v1\\noid sha256:' + '0' * 64 + '\\nsize 1\\n')
    os.symlink('/etc', 'src/link')
    pathlib.Path('.git/hooks').mkdir(parents=True, exist_ok=True)
    put('.git/hooks/post-commit', '#!/bin/sh\\ntouch HOOKED\\n', 0o755)
    os.system('git config core.fsmonitor "touch HOOKED"; git config filter.x.clean "touch HOOKED"')
    put('src/.gitattributes', '* filter=x\\n')
    os.system('git init -q src/nested')
    os.system('git -C src/nested -c user.name=a -c user.email=a@a commit -q --allow-empty -m x')
    os.system('git branch -f main HEAD~0; git tag stolen; git update-ref refs/heads/autonomous/run-1 HEAD')
"""
EXPECTED = {
    ".github/workflows/publish.yml",
    "autopack.toml",
    "src/conftest.py",
    "src/run.sh",
    "elsewhere/file.txt",
    "src/key.txt",
    "src/merge.txt",
    "src/hidden.txt",
    "src/caf\u00e9.txt",
    "src/aux.txt",
    ".gitmodules",
    "src/pointer.bin",
    "src/link",
    "src/.gitattributes",
    "src/nested",
}
SCOPED = [{"phase_id": "P1", "scope": ["src/**"]}]


def _references(repo: Path) -> list[str]:
    return git(repo, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()


async def _violations(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rejected = [event["data"] for event in history if event["type"] == "autopack.PatchRejected.v1"]
    return [violation for data in rejected for violation in data["violations"]]


async def test_a_hostile_patch_is_refused_with_every_violation_named_and_the_agent_then_behaves(
    log_settings: Settings, tmp_path: Path
) -> None:
    body = (
        HOSTILE.replace("HOOKED", str(tmp_path / "hooked")) + "\nif request['attempt'] == 1: attack()\nelse:\n"
        "    named = {v['path'] for told in request['feedback'] for v in told['violations']}\n"
        "    put('src/named.txt', ''.join(sorted(f'{name}\\n' for name in named)))\n"
    )
    repo = repository(tmp_path / "repo", {"src/__init__.py": ""})
    before = _references(repo)
    async with running(log_settings, python_agent(tmp_path, "agent", body)) as build:
        await build.start(request(repo, SCOPED))
        end = (await build.end())["data"]
        violations = await _violations(await build.history())
    assert end["state"] == "DONE_SUCCESS", end
    named = {violation["path"] for violation in violations}
    assert named >= EXPECTED, EXPECTED - named
    told = git(repo, "-c", "core.quotePath=off", "show", "autonomous/run-1:src/named.txt").splitlines()
    assert set(told) == named
    left = [line for line in _references(repo) if "autonomous/run-1" not in line and "refs/autopack/" not in line]
    assert left == before
    assert git(repo, "diff", "--name-only", "main", "autonomous/run-1") == "src/named.txt"
    assert not (tmp_path / "hooked").exists()


async def test_an_agent_that_never_behaves_ends_the_run_as_a_violation_of_policy(
    postgres_settings: Settings, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo", {"src/__init__.py": ""})
    before = _references(repo)
    async with running(postgres_settings, python_agent(tmp_path, "agent", f"{HOSTILE}\nattack()")) as build:
        await build.start(request(repo, SCOPED))
        end = (await build.end())["data"]
    assert end["state"] == "DONE_FAILED_POLICY_VIOLATION"
    assert _references(repo) == before


@pytest.mark.parametrize(
    "attack",
    [
        "import shutil; shutil.rmtree('.git')",
        "os.rename('.git', 'git'); pathlib.Path('.git').write_text('gitdir: /etc')",
        "import shutil; shutil.rmtree('.git'); os.symlink('/etc', '.git')",
        "os.mkfifo('pipe')",
        "import socket; socket.socket(socket.AF_UNIX).bind('door')",
        "[pathlib.Path(n).unlink() for n in os.listdir('.') if n.endswith(('.md', '.toml'))]",
        "os.makedirs('d/' * 200); pathlib.Path('d/' * 200 + 'f.txt').write_text('deep')",
        "pathlib.Path('big.bin').write_bytes(os.urandom(1 << 20) * 64)",
        "[pathlib.Path(f'f{n}.txt').write_text('x') for n in range(20_000)]",
        "os.chmod('.', 0)",
    ],
    ids=["no-git", "git-file", "git-link", "fifo", "socket", "deleted", "deep", "big", "many", "locked"],
)
async def test_no_state_of_the_clone_stops_the_builder(
    postgres_settings: Settings, tmp_path: Path, attack: str
) -> None:
    """Whatever the first attempt leaves, the run reaches its end, and a later attempt may do better."""
    body = f"if request['attempt'] == 1:\n    {attack}\nelse:\n    pathlib.Path('P1.txt').write_text('done\\n')"
    repo = repository(tmp_path / "repo")
    before = git(repo, "rev-parse", "main")
    async with running(postgres_settings, python_agent(tmp_path, "agent", body)) as build:
        await build.start(request(repo))
        end = (await build.end())["data"]
    assert end["state"] == "DONE_SUCCESS", end
    assert git(repo, "rev-parse", "main") == before
    assert not list((postgres_settings.home_folder / "work").glob("*"))
