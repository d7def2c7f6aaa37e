"""Where in a document its faults are: without the alternatives that a validation tried, and as JSON pointers."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]
"""Keys and indexes, from the top of the document down."""

TOP = "(top)"
"""The place of a fault that concerns the whole."""

_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def located_faults(error: ValidationError, document: object) -> Iterator[tuple[Location, ErrorDetails]]:
    """Each fault with its location; of the alternatives of a union only those that speak of what was written."""
    for fault in error.errors(include_url=False):
        if fault["type"] != "literal_error" or not isinstance(fault["input"], dict):
            yield _within(document, fault["loc"], missing=fault["type"] == "missing"), fault


def _within(document: object, parts: Location, *, missing: bool) -> Location:
    """The parts that are in the document: the validation puts the names of alternatives among them."""
    kept: list[str | int] = []
    current: Any = document
    for part in parts:
        if _holds(current, part):
            current = current[part]
            kept.append(part)
    return (*kept, parts[-1]) if missing else tuple(kept)


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def location_of(place: str) -> Location:
    """The location that a fault of a plan means: `phases[2].scope`."""
    if place == TOP:
        return ()
    return tuple(int(index) if index else name for index, name in _STEP.findall(place))


def json_pointer(location: Location) -> str:
    """The location as RFC 6901 writes it; the whole document is the empty text."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
