"""The message of a candidate commit: an agent's words above, our trailers below.

The trailers are what a reader trusts. So lines in the agent's text that look like ours, or like
somebody's signature, are taken out.
"""

import re
import unicodedata
from collections.abc import Iterable

SUBJECT_LIMIT_CHARACTERS = 100
BODY_LIMIT_CHARACTERS = 8000
_TRAILER = re.compile(r"^\W*([^:=#]{1,60}?)\s*[:=#]")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−_"), "-")


def commit_message(subject: str, body: str, trailers: Iterable[tuple[str, str]]) -> str:
    """Subject, body and trailers as one message, ended by a newline."""
    heading = " ".join(" ".join(_clean_lines(subject)).split())
    first = heading[:SUBJECT_LIMIT_CHARACTERS].rstrip() or "Change"
    paragraphs = [first]
    text = "\n".join(_clean_lines(body)).strip("\n")[:BODY_LIMIT_CHARACTERS].rstrip()
    if text:
        paragraphs.append(text)
    paragraphs.append("\n".join(f"{name}: {_one_line(value)}" for name, value in trailers))
    return "\n\n".join(paragraphs) + "\n"


def looks_like_trailer(line: str) -> bool:
    """Whether a line could be taken for one of our trailers, or for a signature."""
    found = _TRAILER.match(_visible(line))
    if found is None:
        return False
    token = found.group(1).casefold().translate(_DASHES).strip("-")
    return token.startswith("autopack") or token == "change-id" or (token.endswith("-by") and " " not in token)


def _clean_lines(text: str) -> list[str]:
    return [_printable(line).rstrip() for line in text.splitlines() if not looks_like_trailer(line)]


def _visible(line: str) -> str:
    """A line as a reader sees it: compatibility forms folded, what has no shape left out."""
    return "".join(
        character for character in unicodedata.normalize("NFKC", line) if unicodedata.category(character) != "Cf"
    )


def _printable(line: str) -> str:
    return "".join(
        character
        for character in line.replace("\t", "    ")
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )


def _one_line(value: str) -> str:
    return _printable(" ".join(value.split()))
