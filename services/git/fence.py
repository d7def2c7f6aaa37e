"""The fence: a ref at the target that says which claim alone may move a run's refs, for each request.

It points to a small blob, the ledger of claims. Whoever moves a ref verifies in the same transaction
that the ledger still is the one in which it has seen its own claim. So a process that was stopped,
replaced and continued finds another ledger, and can move nothing. Requests side by side have lines
of their own, and do not fence each other: between them the head decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

LEDGER_LIMIT = 64
NOTHING_REPLACED = ""


@dataclass(frozen=True, slots=True)
class Line:
    """The claim that stands for a request, and the claim that it said to replace.

    `over` is NOTHING_REPLACED for a first claim, None where an older version has not written it down.
    """

    request_id: str
    claim_id: str
    over: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """Who integrates: the claim's id, the request that it is for, and the claims that the history has before it.

    It replaces the last of those. `project` is whose run it is: a run's id is unique in its project alone, its
    branch in the repository.
    """

    claim_id: str
    request_id: str
    earlier: tuple[str, ...] = ()
    project: str | None = None

    @property
    def over(self) -> str:
        """The claim that it replaces."""
        return self.earlier[-1] if self.earlier else NOTHING_REPLACED

    def may_follow(self, line: Line) -> bool:
        """Whether the claim that stands at the fence has had its time.

        So it has when the history grants it before ours. And when the history never will: a claimer that is
        killed with its claim still on its way has set the fence all the same. The history grants one successor
        to each claim, so what would replace a claim that already has another has lost for good.
        """
        replaced = (NOTHING_REPLACED, *self.earlier[:-1]) if self.earlier else ()
        return line.claim_id in (self.claim_id, *self.earlier) or line.over in replaced


@dataclass(frozen=True, slots=True)
class Ledger:
    """The claims that stand, oldest first. The turn goes up with each writing, so no two are alike.

    `project` is the one whose run owns the refs: that of the first claim.
    """

    turn: int = 0
    lines: tuple[Line, ...] = ()
    project: str | None = None

    def line(self, request_id: str) -> Line | None:
        """What stands for a request."""
        return next((line for line in self.lines if line.request_id == request_id), None)

    def next_turn(self) -> "Ledger":
        """The same claims, as another ledger."""
        return replace(self, turn=self.turn + 1)

    def with_claim(self, claim: Claim) -> "Ledger":
        """The ledger in which this claim stands for its request; the oldest lines are forgotten."""
        others = tuple(line for line in self.lines if line.request_id != claim.request_id)
        lines = (*others, Line(claim.request_id, claim.claim_id, claim.over))[-LEDGER_LIMIT:]
        return Ledger(self.turn + 1, lines, self.project or claim.project)

    def is_foreign_to(self, claim: Claim) -> bool:
        """Whether the refs belong to a run of another project."""
        return None not in (self.project, claim.project) and self.project != claim.project

    def blob(self) -> bytes:
        """What the blob holds."""
        lines = [
            f"turn {self.turn}",
            *([f"project {_word(self.project)}"] if self.project else []),
            *(f"claim {_word(line.request_id)} {_word(line.claim_id)}" for line in self.lines),
            *(f"over {_word(line.request_id)} {_word(line.over)}" for line in self.lines if line.over is not None),
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
    projects = [unquote(line[1]) for line in words if len(line) == 2 and line[0] == "project"]
    over = dict(_pairs(words, "over"))
    lines = tuple(Line(request, claim, over.get(request)) for request, claim in _pairs(words, "claim"))
    return Ledger(turns[0] if turns else 0, lines, projects[0] if projects else None)


def _pairs(words: list[list[str]], kind: str) -> Iterator[tuple[str, str]]:
    return ((unquote(line[1]), unquote(line[2])) for line in words if len(line) == 3 and line[0] == kind)


def _word(text: str) -> str:
    return quote(text, safe="")
