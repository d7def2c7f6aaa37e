"""The target repository as integration sees it: a few refs, read and moved by compare-and-swap."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from services.git.fence import Claim

NOTHING = "0" * 40


@dataclass(frozen=True, slots=True)
class Move:
    """One ref to be moved: from a value (None: it must not exist) to another."""

    reference: str
    old: str | None
    new: str
    step: str


class Target(Protocol):
    """Where integration happens. Each method raises GitFailure when the target cannot be reached or refuses."""

    async def references(self, *names: str) -> Mapping[str, str]:
        """The values of those of the refs that exist."""

    async def read_blob(self, object_id: str, reference: str) -> bytes | None:
        """The content of the blob that a ref points to."""

    async def send_objects(self, commit: str, known: str | None) -> None:
        """Bring a commit's objects there, under no ref; `known` is a commit that a ref holds there."""

    async def set_fence(self, fence: str, claim: Claim, old: str | None) -> str:
        """Move the fence from `old` to this claim; returns its new value."""

    async def move(self, move: Move, fence: str, fence_value: str, claim: Claim) -> str:
        """Move one ref, in a transaction that verifies the fence; returns the fence's value after it."""
