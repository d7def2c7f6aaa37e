"""JSON from an agent: read strictly, its texts made fit for events and tables."""

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")

PRINTABLE_CONTROLS = "\n\t"


class AnswerUnreadable(Exception):
    """What the agent wrote is not one JSON object"""

    def __init__(self, reason: str):
        super().__init__(f"{self.__doc__}: {reason}")
        self.reason = reason


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse exactly one JSON object in UTF-8: no key twice, no NaN or infinity, nothing before or after.

    Raises AnswerUnreadable.
    """
    if not data.strip():
        raise AnswerUnreadable("nothing was written")
    try:
        value = json.loads(
            data.decode(), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise AnswerUnreadable("nested too deeply") from None
    except ValueError as error:
        raise AnswerUnreadable(str(error)) from error
    if not isinstance(value, dict):
        raise AnswerUnreadable(f"a JSON {type(value).__name__} and not an object")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:100]!r} stands there twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


def clean(text: str, limit_bytes: int) -> str:
    """Drop what no table takes (control characters, halves of surrogates) and cut to a size in UTF-8."""
    kept = "".join(letter for letter in text if letter >= " " or letter in PRINTABLE_CONTROLS)
    return kept.encode(errors="replace")[:limit_bytes].decode(errors="ignore")


def fitting(items: Iterable[Item], budget_bytes: int) -> tuple[Item, ...]:
    """Take from the first on whatever still fits into an event: one that is too large hides none that follow."""
    kept: list[Item] = []
    for item in items:
        taken = len(repr(item).encode(errors="replace"))
        if taken > budget_bytes:
            continue
        budget_bytes -= taken
        kept.append(item)
    return tuple(kept)


def renamed(value: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Give old keys their new names. Raises AnswerUnreadable where both stand there."""
    for old, new in names.items():
        if old in value and new in value:
            raise AnswerUnreadable(f"both {new!r} and its older name {old!r} are given")
    return {names.get(key, key): inner for key, inner in value.items()}
