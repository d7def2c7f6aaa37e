"""Rules on names: what every machine can check out, and every reader can read."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from services.policy.change import ProposedChange
from services.policy.disguise import folded, is_git_directory_name, is_modules_file_name
from services.policy.policy import NON_ASCII_NAMES_KIND, Policy, Violation, violation

_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:[. :].*)?")
_FORBIDDEN_ON_WINDOWS = frozenset(b'<>:"|?*\\')


def git_directory_names(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """`.git` in any disguise: a checkout of it would be configuration, and run."""
    refused = set(change.refused_paths)
    for path in [*change.refused_paths, *_present(change)]:
        if any(map(is_git_directory_name, path.split(b"/"))):
            yield violation(
                "git_directory", path, "This is `.git` to some file systems.", "Leave it out; use another name."
            )
        elif path in refused:
            yield violation(
                "impossible_path", path, "Git can hold no such path.", "Use a plain path inside the repository."
            )


def modules_file_names(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """`.gitmodules` in any disguise, at any depth."""
    for path in _touched(change):
        if any(map(is_modules_file_name, path.split(b"/"))):
            yield violation("gitmodules", path, "Submodules are not governed.", "Leave `.gitmodules` as it is.")


def unreadable_names(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Names with control, bidirectional or shapeless characters, or that are not UTF-8."""
    for path in _new_names(change):
        problem = _unreadable(path)
        if problem:
            yield violation("unreadable_name", path, f"The name holds {problem}.", "Use visible characters.")


def reserved_names(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Names that Windows reserves or cannot hold."""
    for path in _new_names(change):
        if any(_reserved(component) for component in path.split(b"/")):
            yield violation(
                "reserved_name", path, "Windows reserves this name or cannot hold it.", "Use another name."
            )


def non_ascii_names(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Names outside ASCII, unless the phase allows them."""
    if NON_ASCII_NAMES_KIND in policy.allow:
        return
    for path in _new_names(change):
        if not path.isascii():
            yield violation(
                "non_ascii_name",
                path,
                "The name is not plain ASCII.",
                f"Use an ASCII name, or have the phase allow `{NON_ASCII_NAMES_KIND}`.",
            )


def colliding_names(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Names that differ from another in the result by case or Unicode form alone, folders included."""
    new = set(_new_names(change))
    if not new:
        return
    spellings: defaultdict[bytes, set[bytes]] = defaultdict(set)
    wanted = {_key(name) for path in new for name in _with_folders(path)}
    for name in _names_of(change.result_paths):
        key = _key(name)
        if key in wanted:
            spellings[key].add(name)
    for path in sorted(new):
        if any(len(spellings[_key(n)]) > 1 for n in _with_folders(path)):
            yield violation(
                "colliding_name", path, "Another path differs from it by case or form alone.", "Use one spelling."
            )


def _names_of(paths: frozenset[bytes]) -> set[bytes]:
    """All paths and the folders above them, each once: a tree may be large."""
    parents = {path.rpartition(b"/")[0] for path in paths} - {b""}
    return {*paths, *(folder for parent in parents for folder in _with_folders(parent))}


def _key(name: bytes) -> bytes:
    """What names that collide have in common; most are ASCII, for which this is quick."""
    if name.isascii():
        return name.lower()
    return folded(name.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _with_folders(path: bytes) -> Iterator[bytes]:
    yield path
    while b"/" in path:
        path = path.rsplit(b"/", 1)[0]
        yield path


def _new_names(change: ProposedChange) -> list[bytes]:
    return [file.path for file in change.files if file.is_new]


def _present(change: ProposedChange) -> list[bytes]:
    return [file.path for file in change.files if not file.is_deleted]


def _touched(change: ProposedChange) -> list[bytes]:
    return [*change.refused_paths, *(file.path for file in change.files)]


def _unreadable(path: bytes) -> str | None:
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"
    kinds = {unicodedata.category(character) for character in text}
    if "Cc" in kinds:
        return "control characters"
    if kinds & {"Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return "characters without a shape, or that turn the direction of text"
    return None


def _reserved(component: bytes) -> bool:
    text = component.decode("utf-8", "replace")
    return (
        _RESERVED.fullmatch(text) is not None
        or text[-1:] in (".", " ")
        or not _FORBIDDEN_ON_WINDOWS.isdisjoint(component)
    )
