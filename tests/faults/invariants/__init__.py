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
from faults.invariants.evidence import Acknowledged, Evidence, Leftovers, Log, ReadModels
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


ON_THE_LOG = ("I1", "I3", "I7", "I8", "answers")


def judge_log(log: Log, world: World) -> list[str]:
    """Every violation that the log alone shows, of a world in which nothing was really built."""
    told = [Acknowledged(*one) for one in world.acknowledged]
    evidence = Evidence(log, told, ReadModels({}, {}), (), (), Leftovers(), ())
    return [f"{name}: {one}" for name in ON_THE_LOG for one in INVARIANTS[name](evidence)]


async def check(world: World) -> list[str]:
    """Every violation in a world whose services have ended; none where all invariants hold."""
    return judge(await gather(world))
