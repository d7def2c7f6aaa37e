"""How large events may become, in bytes as they are written: a character takes up to six of them."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic_core import to_json

from events.families.base import Value

EVENT_LIMIT_BYTES = 64 * 1024
"""A record of the history. Only a plan may be larger: it is written down as it was submitted."""
DATA_LIMIT_BYTES = EVENT_LIMIT_BYTES - 4 * 1024
"""The data of an event that the supervisor writes; the rest is for its envelope."""

ValueT = TypeVar("ValueT", bound=Value | str)


def size_bytes(value: Value | Sequence[Value | str] | str | None) -> int:
    """What a value takes in an event."""
    return len(value.__pydantic_serializer__.to_json(value) if isinstance(value, Value) else to_json(value))


def first(values: Sequence[ValueT], limit_bytes: int) -> tuple[ValueT, ...]:
    """As many values from the front as fit, with the commas between them."""
    kept = 0
    for value in values:
        limit_bytes -= size_bytes(value) + 1
        if limit_bytes < 0:
            break
        kept += 1
    return tuple(values[:kept])


def last(values: Sequence[ValueT], limit_bytes: int) -> tuple[ValueT, ...]:
    """As many values from the end as fit, in their order."""
    return first(values[::-1], limit_bytes)[::-1]


def clipped(text: str, limit_bytes: int) -> str:
    """A text, or its beginning where it takes more than that."""
    if size_bytes(text) <= limit_bytes:
        return text
    kept = text[:limit_bytes]
    while size_bytes(kept) > limit_bytes - len("…".encode()):
        kept = kept[: len(kept) * 3 // 4]
    return f"{kept}…"
