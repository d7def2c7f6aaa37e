"""Texts and lists cut to what an event may hold; what is left out is said."""

from collections.abc import Callable, Sequence
from typing import TypeVar

TEXT_LIMIT = 4000
ItemT = TypeVar("ItemT")


def clipped(text: str, limit: int = TEXT_LIMIT) -> str:
    """A text without what JSON cannot hold, and not longer than `limit` characters."""
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def first(items: Sequence[ItemT], limit: int, more: Callable[[int], ItemT]) -> tuple[ItemT, ...]:
    """The first of many; in the place of the rest one item that says how many are left out."""
    if len(items) <= limit:
        return tuple(items)
    return (*items[: limit - 1], more(len(items) - limit + 1))
