"""Applying one patch to the private index of a quarantine."""

import re
from dataclasses import dataclass

from services.git.child import last_lines
from services.git.quarantine import Quarantine
from services.policy.disguise import is_git_directory_name

_REFUSED = re.compile(rb"^error: (?:invalid path '(.+)'|affected file '(.+)' is beyond a symbolic link)$", re.M)
_CONFLICT = re.compile(r"^(?:U (.+)|error: patch failed: (.+):\d+|error: (.+): (?:does not|already) .+)$", re.M)
_WILDCARDS = re.compile(r"([*?\[\]\\])")
REFUSED_LIMIT = 50


@dataclass(frozen=True, slots=True)
class Conflict:
    """The patch does not apply to this parent."""

    paths: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one patch: paths that git refuses (left out), and a conflict if there is one."""

    refused: tuple[bytes, ...] = ()
    conflict: Conflict | None = None


async def apply_patch(quarantine: Quarantine, patch: bytes) -> Applied:
    """Apply a patch to the index; what git can hold in no tree is left out, and named.

    A conflict leaves the index unusable: the quarantine is then done with.
    """
    refused: list[bytes] = []
    stderr = b""
    for _ in range(REFUSED_LIMIT):
        exit_code, stderr = await _run_apply(quarantine, patch, refused)
        if exit_code == 0:
            return Applied(tuple(refused))
        named = _REFUSED.search(stderr)
        if named is None:
            break
        found = {named.group(1) or named.group(2), *(() if refused else await _disguised(quarantine, patch))}
        if found <= set(refused):
            break  # leaving it out did not help
        refused.extend(sorted(found - set(refused)))
    return Applied(tuple(refused), _conflict(stderr))


async def _run_apply(quarantine: Quarantine, patch: bytes, excluded: list[bytes]) -> tuple[int, bytes]:
    if not patch.strip():
        return 0, b""
    output = await quarantine.git.run(
        quarantine.place,
        "apply",
        "--cached",
        "--3way",
        "--binary",
        "--whitespace=nowarn",
        *(f"--exclude={_literal(path)}" for path in excluded),
        stdin=patch,
        accept=(0, 1, 128),
        durable=False,
    )
    return output.exit_code, output.stderr


async def _disguised(quarantine: Quarantine, patch: bytes) -> set[bytes]:
    """All paths of a patch that stand for a git directory: git would name only the first."""
    listed = await quarantine.git.run(
        quarantine.place, "apply", "--numstat", "-z", stdin=patch, accept=(0, 1, 128)
    )
    paths = {entry.split(b"\t", 2)[2] for entry in listed.stdout.split(b"\0") if entry.count(b"\t") >= 2}
    return {path for path in paths if any(map(is_git_directory_name, path.split(b"/")))}


def _literal(path: bytes) -> str:
    return _WILDCARDS.sub(r"\\\1", path.decode("utf-8", "surrogateescape"))


def _conflict(stderr: bytes) -> Conflict:
    text = last_lines(stderr)
    paths = {path for groups in _CONFLICT.findall(text) for path in groups if path}
    return Conflict(tuple(sorted(paths)), text)
