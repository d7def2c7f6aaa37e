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
    """Who integrates: the claim's id, the request that it is for, the claim that it replaces, if any.

    `project` is whose run it is: a run's id is unique in its project alone, its branch in the repository.
    """

    claim_id: str
    request_id: str
    replaces: str | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The claims that stand, oldest first. The turn goes up with each writing, so no two are alike.

    `project` is the one whose run owns the refs: that of the first claim.
    """

    turn: int = 0
    claims: tuple[tuple[str, str], ...] = ()
    project: str | None = None

    def holder(self, request_id: str) -> str | None:
        """The claim that stands for a request."""
        return dict(self.claims).get(request_id)

    def next_turn(self) -> "Ledger":
        """The same claims, as another ledger."""
        return replace(self, turn=self.turn + 1)

    def with_claim(self, claim: Claim) -> "Ledger":
        """The ledger in which this claim stands for its request; the oldest lines are forgotten."""
        others = tuple(line for line in self.claims if line[0] != claim.request_id)
        claims = (*others, (claim.request_id, claim.claim_id))[-LEDGER_LIMIT:]
        return Ledger(self.turn + 1, claims, self.project or claim.project)

    def is_foreign_to(self, claim: Claim) -> bool:
        """Whether the refs belong to a run of another project."""
        return None not in (self.project, claim.project) and self.project != claim.project

    def blob(self) -> bytes:
        """What the blob holds."""
        lines = [
            f"turn {self.turn}",
            *([f"project {_word(self.project)}"] if self.project else []),
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
    projects = [unquote(line[1]) for line in words if len(line) == 2 and line[0] == "project"]
    return Ledger(turns[0] if turns else 0, tuple(claims), projects[0] if projects else None)


def _word(text: str) -> str:
    return quote(text, safe="")
