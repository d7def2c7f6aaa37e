"""What a command prints: results on stdout, everything else on stderr."""

import sys
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table


def stdout_console() -> Console:
    """The console for results. Off a terminal it writes no colours, and cuts no line."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """The console for messages and progress."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(stderr=stderr, highlight=False, no_color=True, force_terminal=False, width=10_000)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    _write(orjson.dumps(plain(document), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


def print_json_line(document: object) -> None:
    """One JSON document on a line of its own, at once."""
    _write(orjson.dumps(plain(document), option=orjson.OPT_NON_STR_KEYS))


def print_line(text: str) -> None:
    """A line of plain text, just as it is."""
    _write(text.encode("utf-8", "replace"))


def print_bytes(line: bytes) -> None:
    """A line of bytes, just as they are."""
    _write(line)


def show(*renderables: RenderableType) -> None:
    """Tables and text for people, on stdout."""
    stdout_console().print(*renderables, soft_wrap=not sys.stdout.isatty())


def tell(message: str) -> None:
    """A message to the person at the terminal, on stderr; its text is no markup."""
    stderr_console().print(message, markup=False, soft_wrap=True)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table without lines; None shows as a dash."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*("-" if cell is None else str(cell) for cell in row))
    return drawn


def plain(value: object) -> Any:
    """A value as what JSON knows, where it is not yet."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value


def _write(line: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
