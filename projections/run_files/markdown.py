"""Pieces of Markdown in which foreign text stays text."""

from collections.abc import Iterable

NOT_SET = "N/A"


def line(value: object) -> str:
    """A value on one line; nothing becomes `N/A`."""
    text = " ".join(str(value).split()) if value is not None else ""
    return text.replace("<", "&lt;") or NOT_SET


def bullets(facts: Iterable[tuple[str, object]]) -> str:
    """A list of names and values."""
    return "\n".join(f"- **{name}:** {line(value)}" for name, value in facts)


def items(lines: Iterable[object]) -> str:
    """A plain list; `- none` where there is nothing."""
    return "\n".join(f"- {line(one)}" for one in lines) or "- none"


def section(title: str, *parts: str, level: int = 2) -> str:
    """A heading and what belongs to it."""
    return "\n\n".join((f"{'#' * level} {line(title)}", *(part for part in parts if part)))


def fenced(text: str) -> str:
    """Output as it was, in a fence that it cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def document(*parts: str) -> str:
    """A whole file."""
    return "\n\n".join(part for part in parts if part) + "\n"
