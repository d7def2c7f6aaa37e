"""Texts and lists cut to what an event may hold; what is left out is said."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import orjson
from pydantic import BaseModel

TEXT_LIMIT = 4000
JSON_BYTES_PER_CHARACTER = 2
"""What a text may take in an event: more than plain text needs, less than one of control characters would."""
MORE_BYTES = 200
ItemT = TypeVar("ItemT", bound=str | BaseModel)


def clipped(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text without what JSON cannot hold, and not longer than `limit` characters, nor twice as many bytes."""
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    cut = clean if len(clean) <= limit else f"{clean[: limit - 1]}…"
    while json_bytes(cut) > limit * JSON_BYTES_PER_CHARACTER and len(cut) > 1:
        cut = f"{cut[: len(cut) * 3 // 4]}…"
    return cut


def first(
    items: Sequence[ItemT], limit_bytes: int, more: Callable[[int], ItemT] | None = None
) -> tuple[ItemT, ...]:
    """As many as fit, from the first on; in the place of the rest one item that says how many are left out.

    Without `more` nothing stands in their place.
    """
    sizes = [json_bytes(item) + 1 for item in items]
    if sum(sizes) <= limit_bytes:
        return tuple(items)
    kept, left = 0, limit_bytes - MORE_BYTES
    while sizes[kept] <= left:
        left -= sizes[kept]
        kept += 1
    rest = () if more is None else (more(len(items) - kept),)
    return (*items[:kept], *rest)


def json_bytes(value: str | BaseModel) -> int:
    """How many bytes a value takes in an event."""
    if isinstance(value, str):
        return len(orjson.dumps(value))
    return len(value.__pydantic_serializer__.to_json(value))
