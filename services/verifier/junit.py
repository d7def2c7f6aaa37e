"""Counting tests in a JUnit report that a check has written."""

import contextlib
import os
import stat
from pathlib import Path
from xml.parsers import expat

from services.sandbox.inside import opened_folder, relative_path

LARGEST_REPORT_BYTES = 16 * 1024 * 1024


class _Refused(Exception):
    """The report declares what no report needs."""


def count_tests(folder: Path, report: str) -> int | None:
    """How many test cases a report lists; None where there is none that can be read. Blocking.

    A check may have put anything there: no link is followed, no endless file read, no entity expanded.
    """
    data = _read(folder, report)
    return None if data is None else _count(data)


def remove_report(folder: Path, report: str) -> None:
    """Remove what lies in the report's place, so that only what a check writes is counted. Blocking."""
    path = relative_path(report)
    if path is not None:
        with contextlib.suppress(OSError), opened_folder(folder, path.parent) as parent:
            os.unlink(path.name, dir_fd=parent)


def _read(folder: Path, report: str) -> bytes | None:
    path = relative_path(report)
    if path is None:
        return None
    try:
        with opened_folder(folder, path.parent) as parent:
            descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_REPORT_BYTES:
        os.close(descriptor)
        return None
    with open(descriptor, "rb") as file:
        return file.read(LARGEST_REPORT_BYTES)


def _count(data: bytes) -> int | None:
    """Count as the parser goes along: a tree of millions of elements would not fit in memory."""
    count = 0

    def started(name: str, _: dict[str, str]) -> None:
        nonlocal count
        count += name == "testcase"

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate()
    parser.StartElementHandler = started
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, _Refused, LookupError, ValueError):
        return None
    return count
