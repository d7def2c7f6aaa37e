"""The target repository as integration sees it: a few refs, read and moved by compare-and-swap."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.git.fence import Fence, Ledger

NOTHING = "0" * 40


@dataclass(frozen=True, slots=True)
class Move:
    """One ref to be moved: from a value (None: it must not exist) to another."""

    reference: str
    old: str | None
    new: str


def wanted(reference: str, names: tuple[str, ...], below: tuple[str, ...]) -> bool:
    """Whether a ref is one of those that `Target.references` was asked for."""
    return reference in names or reference.startswith(tuple(f"{name}/" for name in below))


class Target(Protocol):
    """Where integration happens. Each method raises GitFailure when the target cannot be reached or refuses."""

    async def references(self, *names: str, below: tuple[str, ...] = ()) -> Mapping[str, str]:
        """The values of those of the refs that exist, and of all whose names go on from one of `below`."""

    async def read_blob(self, object_id: str, reference: str) -> bytes | None:
        """The content of the blob that a ref points to: nothing of what is no blob, None where it is missing."""

    async def send_objects(self, commit: str, known: str | None) -> None:
        """Bring a commit's objects there, under no ref; `known` is a commit that a ref holds there."""

    async def set_fence(self, reference: str, ledger: Ledger, old: str | None) -> Fence:
        """Move the fence from `old` to this ledger."""

    async def move(self, move: Move, reference: str, fence: Fence) -> Fence:
        """Move one ref, in a transaction that verifies the fence; returns the fence after it."""
