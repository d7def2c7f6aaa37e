"""Rules on what kind of entry a path may be."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from services.policy.change import ABSENT, EXECUTABLE, GITLINK, REGULAR, SYMLINK, ProposedChange
from services.policy.policy import EXECUTABLE_KIND, Policy, Violation, violation

_BARE_REPOSITORY = {b"head", b"objects", b"refs"}


def symlinks(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Symbolic links, wherever they point: what reads through one leaves the tree."""
    for file in change.files:
        if file.new_mode == SYMLINK:
            yield violation("symlink", file.path, "This is a symbolic link.", "Put a plain file in its place.")


def gitlinks(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Links to other repositories; also a repository made inside the work tree becomes one."""
    for file in change.files:
        if GITLINK in (file.old_mode, file.new_mode):
            yield violation(
                "gitlink",
                file.path,
                "This is a repository within the repository.",
                "Remove the `.git` in it, and leave submodules as they are.",
            )


def other_modes(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Anything but a file, plain or executable (links have rules of their own)."""
    known = (ABSENT, REGULAR, EXECUTABLE, SYMLINK, GITLINK)
    for file in change.files:
        if file.new_mode not in known:
            yield violation(
                "mode", file.path, f"The mode is {file.new_mode:o}.", "Only 100644 and 100755 will do."
            )


def executables(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """A file that becomes executable, unless the phase allows it."""
    if EXECUTABLE_KIND in policy.allow:
        return
    for file in change.files:
        if file.new_mode == EXECUTABLE and file.old_mode != EXECUTABLE:
            yield violation(
                "executable",
                file.path,
                "The file becomes executable.",
                f"Take the bit away, or have the phase allow `{EXECUTABLE_KIND}`.",
            )


def bare_repositories(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """A folder that git would take for a repository: HEAD beside objects and refs, in the result."""
    touched = {parent for file in change.files if not file.is_deleted for parent in _parents(file.path)}
    for folder in sorted(touched & _bare_repositories_in(change.result_paths)):
        yield violation("bare_repository", folder or b".", "This folder is a bare repository.", "Leave it out.")


def _parents(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rsplit(b"/", 1)[0]
        yield path
    yield b""


def _bare_repositories_in(paths: Iterable[bytes]) -> set[bytes]:
    """The folders that hold all of HEAD, objects and refs; one pass, for a tree may be large."""
    found: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for path in paths:
        lowered = path.lower()
        if b"head" in lowered or b"objects" in lowered or b"refs" in lowered:
            parts = path.split(b"/")
            for position, part in enumerate(parts):
                found[b"/".join(parts[:position])].add(part.lower())
    return {folder for folder, names in found.items() if names >= _BARE_REPOSITORY}
