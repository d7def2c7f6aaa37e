"""The invariants, checked from outside: from log, tables, git, processes and folders, not through the services.

`check(world)` gathers the evidence and judges it. Nothing of the code under test decides here; only the rebuild,
with which read models are compared, is the product's own, as a process.
"""

from collections.abc import Callable, Iterator, Mapping

from faults.invariants import (
    acknowledged,
    agents,
    answers,
    applies,
    chains,
    endings,
    leftovers,
    references,
    sequences,
    served,
)
from faults.invariants.evidence import Evidence
from faults.invariants.gathering import gather
from faults.world import World

INVARIANTS: Mapping[str, Callable[[Evidence], Iterator[str]]] = {
    "I1": acknowledged.violations,
    "I2": applies.violations,
    "I3": sequences.violations,
    "I4": served.violations,
    "I5": references.violations,
    "I6": leftovers.violations,
    "I7": endings.violations,
    "I8": chains.violations,
    "answers": answers.violations,
    "agents": agents.violations,
}
"""Each by the name with which its violations begin."""


def judge(evidence: Evidence) -> list[str]:
    """Every violation, one sentence each, which names the invariant and the place."""
    return [f"{name}: {one}" for name, found in INVARIANTS.items() for one in found(evidence)]


async def check(world: World) -> list[str]:
    """Every violation in a world whose services have ended; none where all invariants hold."""
    return judge(await gather(world))
