"""Where the services of this process write their log, and how it looks."""

import contextlib
import logging
import sys
from io import TextIOBase
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import Processor

from services.settings import Settings

LOG_NAME = "autopack.log"


class _OpenedWhenWritten(TextIOBase):
    """A file that is there only once something is written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def write(self, text: str) -> int:
        """Append, at once."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Whatever a line holds, and in whatever locale: it is written.
            self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        written = self._file.write(text)
        self._file.flush()
        return written


class _Unfailing(TextIOBase):
    """A stream that passes over what cannot be written: for want of a log nobody may end, or lose work.

    Each line is tried anew: a disk that was full may have room again.
    """

    def __init__(self, stream: TextIO | TextIOBase) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or pass over it: a disk may be full, a reader gone, an encoding without it."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what is written; what fails to be stays behind."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def log_to_stderr(settings: Settings) -> None:
    """For services whose log somebody reads as they run."""
    _configure(settings, sys.stderr, colours=sys.stderr.isatty())


def log_to_home(settings: Settings) -> Path:
    """For commands that people read the output of: the services' log goes beside it. Returns the file."""
    path = settings.home_folder / LOG_NAME
    _configure(settings, _OpenedWhenWritten(path), colours=False)
    return path


def _configure(settings: Settings, stream: TextIO | TextIOBase, *, colours: bool) -> None:
    unfailing = _Unfailing(stream)
    level = getattr(logging, settings.log_level.upper())
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=colours)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(unfailing),  # type: ignore[arg-type]  # all it does is write
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING),
        stream=unfailing,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
