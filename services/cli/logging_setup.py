"""Where the services of this process write their log, and how it looks."""

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
            self._file = self._path.open("a")
        written = self._file.write(text)
        self._file.flush()
        return written


def log_to_stderr(settings: Settings) -> None:
    """For services whose log somebody reads as they run."""
    _configure(settings, sys.stderr, colours=sys.stderr.isatty())


def log_to_home(settings: Settings) -> Path:
    """For commands that people read the output of: the services' log goes beside it. Returns the file."""
    path = settings.home_folder / LOG_NAME
    _configure(settings, _OpenedWhenWritten(path), colours=False)
    return path


def _configure(settings: Settings, stream: TextIO | TextIOBase, *, colours: bool) -> None:
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
        logger_factory=structlog.PrintLoggerFactory(stream),  # type: ignore[arg-type]  # all it does is write
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(level, logging.WARNING),
        stream=stream,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
