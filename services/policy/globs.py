"""Path globs: `*` within a component, `**` over components, a folder's name for all beneath it.

Compared after casefold and NFC, so that no spelling of a name slips past. Patterns that grant are
anchored at the root: `README.md` grants one file. Patterns that forbid, and have no slash, reach
every folder: `*.pem` forbids them all.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from services.policy.disguise import folded


@dataclass(frozen=True, slots=True)
class Globs:
    """A set of patterns, ready to match."""

    patterns: tuple[re.Pattern[str], ...]

    def match(self, path: bytes) -> bool:
        """Whether some pattern names this path, or a folder that holds it."""
        text = folded(path.decode("utf-8", "surrogateescape"))
        return any(pattern.match(text) for pattern in self.patterns)


def granting(patterns: Iterable[str]) -> Globs:
    """Patterns that allow what they name, read narrowly."""
    return Globs(tuple(_compiled(pattern, False) for pattern in patterns))


def forbidding(patterns: Iterable[str]) -> Globs:
    """Patterns that forbid what they name, read widely."""
    return Globs(tuple(_compiled(pattern, True) for pattern in patterns))


@lru_cache(maxsize=4096)
def _compiled(pattern: str, anywhere: bool) -> re.Pattern[str]:
    text = folded(pattern).removeprefix("./")
    anchored = text.startswith("/") or "/" in text.rstrip("/")
    parts = [part for part in text.strip("/").split("/") if part]
    if anywhere and not anchored:
        parts.insert(0, "**")
    return re.compile("".join(_translated(parts)) or r"(?!)", re.DOTALL)


def _translated(parts: list[str]) -> Iterable[str]:
    """The pieces of a regular expression; each component but `**` ends at a slash or the end.

    What follows a `**` matches where it comes first, once and for all: another place would leave no
    more of the path for the rest. So nothing is tried twice, however a path repeats itself.
    """
    opened = False
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            if opened:
                yield ")"
            yield r".+\Z" if last else r"(?>(?:[^/]+/)*?"
            opened = not last
        else:
            yield _component(part) + (r"(?:/|\Z)" if last else "/")
    if opened:
        yield ")"


def _component(part: str) -> str:
    """One component: what stands between two stars matches where it comes first, and is not tried again."""
    stretches = [""]
    for piece in re.split(r"(\*+|\?|\[!?\]?[^\]/]*\])", part):
        if piece.startswith("*"):
            stretches.append("")
        else:
            stretches[-1] += _piece(piece)
    if len(stretches) == 1:
        return stretches[0]
    first, *between, last = stretches
    return first + "".join(f"(?>[^/]*?{stretch})" for stretch in between) + "[^/]*" + last


def _piece(piece: str) -> str:
    if piece == "?":
        return "[^/]"
    if len(piece) > 2 and piece.startswith("[") and piece.endswith("]"):
        inner = piece[1:-1]
        negated = inner.startswith("!")
        body = inner[negated:].replace("\\", "\\\\").replace("^", "\\^").replace("[", "\\[").replace("]", "\\]")
        return f"(?!/)[{'^' if negated else ''}{body}]"
    return re.escape(piece)
