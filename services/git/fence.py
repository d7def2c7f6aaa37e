"""The fence: a ref at the target that holds the claim which alone may move a run's refs.

It points to a small blob. Claims are ordered by the request that they are for; within one request
a claim gives way only to one that names it as replaced. So a process that was stopped, replaced
and continued finds a fence that is not its own, and can move nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """Who integrates: the claim's id, the request (with its sequence in the run), the claim it replaces."""

    claim_id: str
    request_sequence: int
    replaces: str | None = None

    def blob(self, step: str = "claimed") -> bytes:
        """What the fence's blob holds. The step lets a push move the fence together with a ref."""
        return f"claim {self.claim_id}\nrequest {self.request_sequence}\nstep {step}\n".encode()

    def may_follow(self, standing: "StandingClaim | None") -> bool:
        """Whether this claim may take the place of the one that stands at the target."""
        if standing is None or standing.claim_id == self.claim_id:
            return True
        if standing.request_sequence == self.request_sequence:
            return standing.claim_id == self.replaces
        return standing.request_sequence < self.request_sequence


@dataclass(frozen=True, slots=True)
class StandingClaim:
    """The claim that a fence holds."""

    claim_id: str
    request_sequence: int


def standing_claim(blob: bytes) -> StandingClaim | None:
    """Read a fence's blob; None when it is none of ours."""
    fields = dict(line.split(" ", 1) for line in blob.decode("utf-8", "replace").splitlines() if " " in line)
    sequence = fields.get("request", "")
    if "claim" not in fields or not sequence.isdigit():
        return None
    return StandingClaim(fields["claim"], int(sequence))
