"""Applying one patch to the private index of a quarantine."""

import re
from dataclasses import dataclass

from services.git.child import last_lines
from services.git.quarantine import Quarantine
from services.policy.disguise import is_git_directory_name

_REFUSED = re.compile(
    rb"^error: (?:invalid path '(.+?)'|affected file '(.+?)' is beyond a symbolic link)$", re.MULTILINE | re.DOTALL
)
_CONFLICT = re.compile(r"^(?:U (.+)|error: patch failed: (.+):\d+|error: (.+): (?:does not|already) .+)$", re.M)
_WILDCARDS = re.compile(r"([*?\[\]\\])")
TRIES = 50
"""Git names some paths one at a time: those behind links, and old names of renamed files."""
# What a process can be told by its arguments, with room: altogether, and by one of them.
_ARGUMENTS_BYTES, _ARGUMENT_BYTES = 500_000, 100_000


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
    """Apply a patch to the index; what git can hold in no tree is left out, and named, all of it.

    A conflict leaves the index unusable: the quarantine is then done with.
    """
    refused: set[bytes] = set()
    stderr = b""
    for number in range(TRIES):
        exit_code, stderr = await _run_apply(quarantine, patch, sorted(refused))
        if exit_code == 0:
            return Applied(tuple(sorted(refused)))
        found = {path for groups in _REFUSED.findall(stderr) for path in groups if path}
        if number == 0:
            found |= await _impossible(quarantine, patch)
        if found <= refused:
            break  # leaving them out did not help
        refused |= found
        if not _can_be_excluded(refused):
            break
    return Applied(tuple(sorted(refused)), _conflict(stderr))


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


async def _impossible(quarantine: Quarantine, patch: bytes) -> set[bytes]:
    """All paths of a patch that no tree may hold: git itself would name only the first."""
    listed = await quarantine.git.run(
        quarantine.place, "apply", "--numstat", "-z", stdin=patch, accept=(0, 1, 128)
    )
    paths = {entry.split(b"\t", 2)[2] for entry in listed.stdout.split(b"\0") if entry.count(b"\t") >= 2}
    return {path for path in paths if any(map(_is_impossible, path.split(b"/")))}


def _is_impossible(component: bytes) -> bool:
    return component in (b"", b".", b"..") or is_git_directory_name(component)


def _can_be_excluded(paths: set[bytes]) -> bool:
    sizes = [2 * len(path) + 20 for path in paths]  # each byte may have to be escaped
    return max(sizes) <= _ARGUMENT_BYTES and sum(sizes) <= _ARGUMENTS_BYTES


def _literal(path: bytes) -> str:
    return _WILDCARDS.sub(r"\\\1", path.decode("utf-8", "surrogateescape"))


def _conflict(stderr: bytes) -> Conflict:
    text = last_lines(stderr)
    paths = {path for groups in _CONFLICT.findall(text) for path in groups if path}
    return Conflict(tuple(sorted(paths)), text)
