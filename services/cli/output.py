"""What a command prints: results on stdout, everything else on stderr."""

import sys
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson
from msgspec import Struct, structs
from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text


def safe(text: str) -> str:
    """Text of agents and repositories for a terminal: what would steer it shows as a symbol instead."""
    return text.translate(_SHOWN)


_CONTROLS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_STEERING = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = _CONTROLS | dict.fromkeys(_STEERING, 0xFFFD)


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
    """Plain text and a line feed: just as it is, but that a terminal is given nothing that steers it."""
    shown = safe(text) if sys.stdout.isatty() else text
    _write(shown.encode("utf-8", "replace"))


def print_bytes(line: bytes) -> None:
    """A line of bytes, just as they are."""
    _write(line)


def show(*renderables: RenderableType) -> None:
    """Tables and text for people, on stdout."""
    stdout_console().print(*renderables, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def tell(message: str) -> None:
    """A message to the person at the terminal, on stderr; its text is no markup."""
    stderr_console().print(safe(message), markup=False, emoji=False, soft_wrap=True)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table without lines; None shows as a dash."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("-" if cell is None else safe(str(cell))) for cell in row))
    return drawn


def plain(value: object) -> Any:
    """A value as what JSON knows, where it is not yet."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Struct):
        return structs.asdict(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value


def _write(line: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
