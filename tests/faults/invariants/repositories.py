"""The reader of repositories: what git itself shows, by plain commands."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from faults.invariants.evidence import Commit, Repository
from support.repositories import ENVIRONMENT

LIMIT_SECONDS = 300
TRAILER = "Autopack-"
# Whoever owns the folder; and reading takes no lock.
_ENVIRONMENT = ENVIRONMENT | {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


def read(path: Path, stood: Mapping[str, str] | None = None) -> Repository:
    """A repository, bare or with a work tree. Blocking."""
    folder = Path(_git(path, "rev-parse", "--absolute-git-dir").strip())
    return Repository(
        path=path,
        refs=_references(path),
        commits={commit.id: commit for commit in _commits(path)},
        moves=_moves(folder),
        complaints=_complaints(path),
        changes=_changes(path),
        locks=sorted(folder.rglob("*.lock")),
        stood=stood or {},
    )


def _git(path: Path, *arguments: str, given: bytes = b"", accepted: Sequence[int] = (0,)) -> str:
    done = subprocess.run(
        ["git", "-C", str(path), *arguments],
        env=_ENVIRONMENT,
        input=given,
        capture_output=True,
        timeout=LIMIT_SECONDS,
    )
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode in accepted, f"{path}: git {arguments[0]} ended with {done.returncode}: {said}"
    return done.stdout.decode("utf-8", "surrogateescape")


def _references(path: Path) -> dict[str, str]:
    listed = _git(path, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    found = {name: value for value, name in (line.split(" ", 1) for line in listed)}
    return found | {"HEAD": _git(path, "symbolic-ref", "--quiet", "HEAD", accepted=(0, 1)).strip()}


def _commits(path: Path) -> Iterator[Commit]:
    """Every commit object, whether a ref leads to it or not: a commit made in vain is a commit."""
    listed = _git(path, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)")
    names = [line.split(" ")[1] for line in listed.splitlines() if line.startswith("commit ")]
    form = "%H%x00%T%x00%P%x00%(trailers:only,unfold)%x01"
    given = "".join(f"{name}\n" for name in names).encode()
    shown = _git(path, "log", "--no-walk=unsorted", "--stdin", f"--format={form}", given=given) if names else ""
    for entry in shown.split("\x01")[:-1]:
        name, tree, parents, trailers = entry.strip("\n").split("\0")
        yield Commit(name, tree, tuple(parents.split()), dict(_trailers(trailers)))


def _trailers(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        if name.startswith(TRAILER):
            yield name.removeprefix(TRAILER), value


def _moves(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """What the logs of refs tell, where the repository keeps any."""
    logs = folder / "logs"
    files = (path for path in (logs / "refs").rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(logs).as_posix(): _entries(path) for path in files}


def _entries(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text("utf-8", "replace").splitlines()
    return [(line.split(" ")[0], line.split(" ")[1]) for line in lines if line]


def _complaints(path: Path) -> list[str]:
    done = subprocess.run(
        ["git", "-C", str(path), "fsck", "--strict", "--no-dangling", "--no-progress"],
        env=_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT_SECONDS,
    )
    # A branch that HEAD names and that is not born yet is no fault: mirrors have none.
    said = done.stdout.decode("utf-8", "replace").splitlines()
    told = [line for line in said if line and "unborn branch" not in line and not line.startswith("notice: ")]
    return told or ([f"git fsck ended with {done.returncode}"] if done.returncode else [])


def _changes(path: Path) -> list[str]:
    if _git(path, "rev-parse", "--is-bare-repository").strip() == "true":
        return []
    return _git(path, "status", "--porcelain").splitlines()
