"""Path globs: `*` within a component, `**` over components, a folder's name for all beneath it.

Compared after casefold and NFC, so that no spelling of a name slips past. Patterns that grant are
anchored at the root: `README.md` grants one file. Patterns that forbid, and have no slash, reach
every folder: `*.pem` forbids them all. Brackets are read both ways, as one character of theirs and
as they stand: `[id]` is a name that web frameworks give to files, and whoever wrote it meant it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from services.policy.disguise import folded

# Each pair of brackets doubles the readings of its component; with more, all are read the same way.
_MOST_BRACKETS = 4


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
    """One component, in each reading of its brackets by itself.

    Within a reading a stretch has one length, or the first place of it would not be that which leaves most.
    """
    pieces = re.split(r"(\*+|\?|\[!?\]?[^\]/]*\])", part)
    return "(?:" + "|".join(map(_sequence, _readings(pieces))) + ")"


def _readings(pieces: Sequence[str]) -> Iterator[Sequence[str]]:
    """The pieces as expressions, but for stars, with brackets as a class and as they stand."""
    choices = [tuple(_choices(piece)) for piece in pieces]
    if sum(len(choice) > 1 for choice in choices) > _MOST_BRACKETS:
        yield [choice[0] for choice in choices]
        yield [choice[-1] for choice in choices]
    else:
        yield from product(*choices)


def _choices(piece: str) -> Iterator[str]:
    if piece.startswith("*"):
        yield "*"
    elif piece == "?":
        yield "[^/]"
    else:
        if len(piece) > 2 and piece.startswith("[") and piece.endswith("]"):
            yield from _character_class(piece[1:-1])
        yield re.escape(piece)


def _character_class(inner: str) -> Iterator[str]:
    """One of the characters between brackets; nothing, where these name none."""
    negated = inner.startswith("!")
    items = re.findall(r"(.)-(.)|(.)", inner[negated:], re.DOTALL)
    if items and all(first <= last for first, last, _ in items):
        body = "".join(
            re.escape(one) if one else f"{re.escape(first)}-{re.escape(last)}" for first, last, one in items
        )
        yield f"(?!/)[{'^' if negated else ''}{body}]"


def _sequence(pieces: Sequence[str]) -> str:
    """Pieces in a row: what stands between two stars matches where it comes first, and is not tried again."""
    stretches = [""]
    for piece in pieces:
        if piece == "*":
            stretches.append("")
        else:
            stretches[-1] += piece
    if len(stretches) == 1:
        return stretches[0]
    first, *between, last = stretches
    return first + "".join(f"(?>[^/]*?{stretch})" for stretch in between) + "[^/]*" + last
