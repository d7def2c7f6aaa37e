"""The parts of a project file that run by themselves; the rest of it is ordinary work."""

import configparser
import json
import tomllib
from collections.abc import Iterator, Mapping

from services.policy.change import Blob, FileChange, ProposedChange
from services.policy.globs import granting
from services.policy.policy import Policy, Violation, violation

_PYPROJECT = "pyproject.toml"
_PACKAGE = "package.json"
_SETUP = "setup.cfg"
_CARGO = "cargo.toml"
_PARTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    _PYPROJECT: (
        ("build-system",),
        ("project", "entry-points", "pytest11"),
        ("tool", "hatch", "build"),
        ("tool", "hatch", "metadata", "hooks"),
        ("tool", "hatch", "version"),
        ("tool", "poetry", "build"),
        ("tool", "poetry", "plugins", "pytest11"),
        ("tool", "pdm", "build"),
        ("tool", "pdm", "scripts"),
        ("tool", "setuptools", "cmdclass"),
        ("tool", "setuptools", "dynamic"),
        ("tool", "setuptools", "ext-modules"),
        ("tool", "pytest"),
    ),
    _PACKAGE: (
        ("scripts", "install"),
        ("scripts", "prepare"),
        ("scripts", "prepublish"),
        ("packageManager",),
        ("husky",),
        ("gitHooks",),
        ("simple-git-hooks",),
        ("lint-staged",),
    ),
    _SETUP: (
        ("tool:pytest",),
        ("options", "cmdclass"),
        ("options", "entry_points"),
        ("options", "entry-points"),
        ("options.entry_points", "pytest11"),
        ("metadata", "version"),
    ),
    _CARGO: (("package", "build"),),
}
# Nobody writes longer ones by hand, and their parsers take the square of a line's length.
_LARGEST_BYTES = 500_000
_LONGEST_LINE_BYTES = 5_000
# What npm does by these names has steps before and after it, whether or not a script of the name is there.
_LIFECYCLE = frozenset(
    ("install", "pack", "prepare", "publish", "restart", "start", "stop", "test", "uninstall", "version")
)


def self_running_parts(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Build backends and scripts, install scripts and pytest's settings, in files that hold other things too."""
    if change.unread:
        return  # which part it touches is not known, and no matter
    allowed = granting(policy.allow)
    for file in change.files:
        part = _changed_part(file)
        if part is not None and not allowed.match(file.path):
            yield violation(
                "build_backend",
                file.path,
                f"The change touches {part}, which runs by itself.",
                "Leave that part as it is, or have the phase's `allow` name this path.",
            )


def _changed_part(file: FileChange) -> str | None:
    name = file.path.rsplit(b"/", 1)[-1].decode("utf-8", "replace").lower()
    if name not in _PARTS:
        return None
    old, new = _document(name, file.old), _document(name, file.new)
    if old is None or new is None:
        return "a file that cannot be read as what its name says"
    changed = [f"`{'.'.join(part)}`" for part in _PARTS[name] if _at(old, part) != _at(new, part)]
    if name == _PACKAGE and _hooks(old) != _hooks(new):
        changed.append("a script before or after another")
    return changed[0] if changed else None


def _document(name: str, blob: Blob | None) -> Mapping[str, object] | None:
    """The parsed file; one that is not there is empty, None is one that cannot be read."""
    if blob is None:
        return {}
    if blob.content is None or not _is_quickly_parsed(name, blob.content):
        return None
    try:
        found = _parsed(name, blob.content.decode())
    except (ValueError, RecursionError, configparser.Error):
        return None
    return found if isinstance(found, dict) else None


def _is_quickly_parsed(name: str, content: bytes) -> bool:
    longest = 0 if name == _PACKAGE else max(map(len, content.split(b"\n")))
    return len(content) <= _LARGEST_BYTES and longest <= _LONGEST_LINE_BYTES


def _parsed(name: str, text: str) -> object:
    if name in (_PYPROJECT, _CARGO):
        return tomllib.loads(text)
    if name == _PACKAGE:
        return json.loads(text)
    if _reads_differently(text):
        return None
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _reads_differently(text: str) -> bool:
    """Whether pytest finds other sections in an ini file than configparser, which ends lines at newlines alone.

    Pytest begins a new line at a page break and the like, and ends a section's name before a comment, where
    configparser goes on to the last bracket: `[tool:pytest] #]`.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return any(len(line.splitlines()) > 1 or (line.startswith("[") and line.count("]") > 1) for line in lines)


def _hooks(document: Mapping[str, object]) -> dict[str, object]:
    """The scripts that npm runs before and after others; `preview` is one only where there is a `view`."""
    scripts = document.get("scripts")
    if not isinstance(scripts, Mapping):
        return {}
    known = _LIFECYCLE | set(scripts)
    return {
        name: command
        for name, command in scripts.items()
        if any(name.removeprefix(prefix) in known for prefix in ("pre", "post") if name.startswith(prefix))
    }


def _at(document: Mapping[str, object], part: tuple[str, ...]) -> object:
    found: object = document
    for key in part:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
