"""The project's pages, and the fenced blocks in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CATALOGUE = DOCS / "events.md"
PAGES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md")} - {CATALOGUE})
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page; `heading` stands above it, `line` is where it begins."""

    page: Path
    line: int
    language: str
    text: str
    heading: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        headings = HEADING.findall(FENCE.sub("", text[: found.start()]))
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1], found[2], headings[-1] if headings else "")


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each call of `autopack` in a shell block, without what else stands in its line."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True)
            if words and words[0].removeprefix(".venv/bin/") == "autopack":
                yield words[1:]


def words_of(page: str) -> set[str]:
    """Everything that a page sets as code, and each word in it."""
    code = re.findall(r"`([^`]+)`", prose(DOCS / page))
    return {word for text in code for word in (text, *re.findall(r"[\w.*-]+", text))}
