"""The fence: a ref at the target that says which claim alone may move a run's refs, for each request.

It points to a small blob, the ledger of claims. Whoever moves a ref verifies in the same transaction
that the ledger still is the one in which it has seen its own claim. So a process that was stopped,
replaced and continued finds another ledger, and can move nothing. Requests side by side have lines
of their own, and do not fence each other: between them the head decides.
"""

from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

LEDGER_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Claim:
    """Who integrates: the claim's id, the request that it is for, the claim that it replaces, if any."""

    claim_id: str
    request_id: str
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The claims that stand, oldest first. The turn goes up with each writing, so no two are alike."""

    turn: int = 0
    claims: tuple[tuple[str, str], ...] = ()

    def holder(self, request_id: str) -> str | None:
        """The claim that stands for a request."""
        return dict(self.claims).get(request_id)

    def next_turn(self) -> "Ledger":
        """The same claims, as another ledger."""
        return replace(self, turn=self.turn + 1)

    def with_claim(self, claim: Claim) -> "Ledger":
        """The ledger in which this claim stands for its request; the oldest lines are forgotten."""
        others = tuple(line for line in self.claims if line[0] != claim.request_id)
        return Ledger(self.turn + 1, (*others, (claim.request_id, claim.claim_id))[-LEDGER_LIMIT:])

    def blob(self) -> bytes:
        """What the blob holds."""
        lines = [
            f"turn {self.turn}",
            *(f"claim {_word(request)} {_word(claim)}" for request, claim in self.claims),
        ]
        return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class Fence:
    """A ledger that was seen at the target, with the id of its blob."""

    value: str
    ledger: Ledger


def read_ledger(blob: bytes) -> Ledger:
    """The ledger that a blob holds; what is not understood is passed over."""
    words = [line.split(" ") for line in blob.decode("utf-8", "replace").splitlines()]
    turns = [int(line[1]) for line in words if len(line) == 2 and line[0] == "turn" and line[1].isdigit()]
    claims = [(unquote(line[1]), unquote(line[2])) for line in words if len(line) == 3 and line[0] == "claim"]
    return Ledger(turns[0] if turns else 0, tuple(claims))


def _word(text: str) -> str:
    return quote(text, safe="")
