"""Applying one patch to the private index of a quarantine."""

import asyncio
import re
from dataclasses import dataclass

from services.git.child import GitOutput, last_lines
from services.git.command import failure_of
from services.git.objects import object_kind
from services.git.quarantine import Quarantine
from services.policy.disguise import is_git_directory_name

_REFUSED = re.compile(
    rb"^error: (?:invalid path '(.+?)'|affected file '(.+?)' is beyond a symbolic link)$", re.MULTILINE | re.DOTALL
)
_CONFLICT = re.compile(r"^(?:U (.+)|error: patch failed: (.+):\d+|error: (.+): (?:does not|already) .+)$", re.M)
# With these words git refuses a patch that it can read, though it ends as it does where a disk or itself fails.
_UNFIT = re.compile(
    r"^(?:error: (?:.+: patch does not apply|.+: does not exist .+|.+: already exists .+"
    r"|patch with only garbage at line \d+|corrupt patch for submodule .+|unable to add cache entry for .+))$",
    re.MULTILINE,
)
# Of what a patch names as a file, and of what it could not write itself, for want of room as well.
_UNREAD = re.compile(r"^fatal: unable to read blob object ([0-9a-f]+)$", re.MULTILINE)
_DIED = 128
_WILDCARDS = re.compile(r"([*?\[\]\\])")
TRIES = 50
"""Git names some paths one at a time: those behind links, and old names of renamed files."""
_APPLIED = GitOutput(0, b"", b"")
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

    A conflict leaves the index unusable: the quarantine is then done with. Raises `failure_of` a git that
    fails by something else than the patch.
    """
    refused: set[bytes] = set()
    output = _APPLIED
    for number in range(TRIES):
        output = await _run_apply(quarantine, patch, sorted(refused))
        if output.exit_code == 0:
            return Applied(tuple(sorted(refused)))
        found = {path for groups in _REFUSED.findall(output.stderr) for path in groups if path}
        if number == 0:
            found |= await _impossible(quarantine, patch)
        if found <= refused:
            break  # leaving them out did not help
        refused |= found
        if not _can_be_excluded(refused):
            break
    return Applied(tuple(sorted(refused)), await _conflict(quarantine, patch, output))


async def _run_apply(quarantine: Quarantine, patch: bytes, excluded: list[bytes]) -> GitOutput:
    if not patch.strip():
        return _APPLIED
    return await quarantine.git.run(
        quarantine.place,
        "apply",
        "--cached",
        "--3way",
        "--binary",
        "--whitespace=nowarn",
        *(f"--exclude={_literal(path)}" for path in excluded),
        stdin=patch,
        accept=(0, 1, _DIED),
        durable=False,
    )


async def _impossible(quarantine: Quarantine, patch: bytes) -> set[bytes]:
    """All paths of a patch that no tree may hold: git itself would name only the first."""
    listed = await _list_changes(quarantine, patch)
    return await asyncio.to_thread(_impossible_in, listed)  # they may be many, and deep


def _impossible_in(listed: GitOutput) -> set[bytes]:
    paths = {entry.split(b"\t", 2)[2] for entry in listed.stdout.split(b"\0") if entry.count(b"\t") >= 2}
    return {path for path in paths if any(map(_is_impossible, path.split(b"/")))}


async def _list_changes(quarantine: Quarantine, patch: bytes) -> GitOutput:
    return await quarantine.git.run(
        quarantine.place, "apply", "--numstat", "-z", stdin=patch, accept=(0, 1, _DIED)
    )


def _is_impossible(component: bytes) -> bool:
    return component in (b"", b".", b"..") or is_git_directory_name(component)


def _can_be_excluded(paths: set[bytes]) -> bool:
    sizes = [2 * len(path) + 20 for path in paths]  # each byte may have to be escaped
    return max(sizes) <= _ARGUMENT_BYTES and sum(sizes) <= _ARGUMENTS_BYTES


def _literal(path: bytes) -> str:
    return _WILDCARDS.sub(r"\\\1", path.decode("utf-8", "surrogateescape"))


async def _conflict(quarantine: Quarantine, patch: bytes, output: GitOutput) -> Conflict:
    """What git says of the patch; raises what git has met instead, of which another patch would be no cure."""
    said = _text(output.stderr)
    is_unfit = output.exit_code != _DIED or _REFUSED.search(output.stderr) or _UNFIT.search(said)
    if not is_unfit and not await _names_no_file(quarantine, said) and await _is_readable(quarantine, patch):
        raise failure_of(("apply",), output)
    text = last_lines(output.stderr)
    paths = {path for groups in _CONFLICT.findall(text) for path in groups if path}
    return Conflict(tuple(sorted(paths)), text)


async def _names_no_file(quarantine: Quarantine, said: str) -> bool:
    """Whether what git could not read as a file is there, and is none: the patch has named it."""
    unread = _UNREAD.search(said)
    return unread is not None and await object_kind(quarantine, unread[1]) not in (None, "blob")


async def _is_readable(quarantine: Quarantine, patch: bytes) -> bool:
    """Whether the patch is one to git. It shows lines of those that are not, and they may say anything.

    Reading alone needs no room, no object and no index: it fails by the patch, or with its first words.
    """
    listed = await _list_changes(quarantine, patch)
    return listed.exit_code == 0 or listed.stderr.startswith(b"fatal: ")


def _text(stderr: bytes) -> str:
    return stderr.decode("utf-8", "replace")
