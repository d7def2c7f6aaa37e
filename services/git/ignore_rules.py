"""The ignore rules of a base commit, flattened into one list.

An agent can write any `.gitignore`, and its repository's `info/exclude`. What counts is what the
base ignored. Git reads per-folder rules from the work tree alone; given in one list, anchored to
their folders, they mean the same, and git reads nothing of the agent's.
"""

import re
from collections.abc import Mapping

_WILDCARDS = re.compile(rb"([*?\[\]\\])")


def flattened(files: Mapping[bytes, bytes]) -> bytes:
    """One list for `--exclude-from`, from the contents of .gitignore files by their folders.

    The last match wins, so deeper folders come later. The root's folder is empty.
    """
    folders = sorted(files, key=lambda name: (name.count(b"/") + bool(name), name))
    lines = (_anchored(folder, line) for folder in folders for line in _lines(files[folder]))
    return b"".join(line + b"\n" for line in lines if line)


def _lines(content: bytes) -> list[bytes]:
    return content.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def _anchored(folder: bytes, line: bytes) -> bytes:
    pattern = line.rstrip(b"\r\n")
    if not folder or not pattern.strip() or pattern.startswith(b"#"):
        return pattern
    negation = b"!" if pattern.startswith(b"!") else b""
    pattern = pattern[len(negation) :]
    inside = b"/" in _without_trailing_spaces(pattern).rstrip(b"/")
    literal_folder = _WILDCARDS.sub(rb"\\\1", folder)
    return negation + b"/" + literal_folder + (b"/" if inside else b"/**/") + pattern.lstrip(b"/")


def _without_trailing_spaces(pattern: bytes) -> bytes:
    stripped = pattern.rstrip(b" ")
    return stripped + b" " if stripped.endswith(b"\\") else stripped
