"""What is built in a world: repositories, and runs whose agents are scripted."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.builds import repository, request
from support.repositories import git

CONFIGURATION = """\
[checks.normal]
unbroken = { argv = ["sh", "-c", "echo looking; sleep 0.05; test ! -e broken.txt"] }
[ruleset]
check_tries = 1
"""
AUDITED = "index_registry_change"
BEHAVIOURS: tuple[Mapping[str, Any], ...] = (
    {"phase_id": "plain"},
    {"phase_id": "mended"},
    {"phase_id": "audited", "task_category": AUDITED},
)


@dataclass(frozen=True)
class Target:
    """A repository, and the address by which runs name it."""

    project: str
    folder: Path
    address: str


def targets(folder: Path) -> tuple[Target, ...]:
    """One that is worked on in its folder, and one behind a URL."""
    made = []
    for project, scheme in (("shop", ""), ("yard", "file://")):
        repo = repository(folder / project, {"autopack.toml": CONFIGURATION})
        made.append(Target(project, repo, f"{scheme}{repo}"))
    return tuple(made)


def references(repo: Path) -> dict[str, str]:
    """The refs of a repository, name to object, and what HEAD names."""
    lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines) | {"HEAD": git(repo, "symbolic-ref", "HEAD")}


RUN, CANCELLED, REFUSED, TRACKED, NOWHERE = "run", "cancelled", "refused", "tracked", "nowhere"
"""With which the ids of runs begin: what is to become of them follows from that."""
TRACKED_PHASE = "elsewhere"
ENDS: Mapping[str, frozenset[str]] = {
    RUN: frozenset({"DONE_SUCCESS"}),
    # Whoever cancels may come too late, and is told so.
    CANCELLED: frozenset({"DONE_FAILED_CANCELLED", "DONE_SUCCESS"}),
    REFUSED: frozenset(),
    TRACKED: frozenset({"DONE_FAILED_CANCELLED"}),
    NOWHERE: frozenset({"DONE_FAILED_ENVIRONMENT"}),
}
"""How runs end if all is well. Those that are refused do not even begin."""


def tracked(number: int) -> dict[str, Any]:
    """The data of a run that waits for somebody else's builder, until it is cancelled."""
    phases = [{"phase_id": TRACKED_PHASE}]
    return request(None, phases, run_id=f"{TRACKED}-{number}", agents={"builder": "external"})


def kind_of(run_id: str) -> str:
    """Which kind of run it is."""
    return run_id.partition("-")[0]


def nowhere(name: str) -> dict[str, Any]:
    """The data of a run that ends at once, since there is no such repository."""
    return request("/nowhere/at/all", 1, project="nowhere", run_id=f"{NOWHERE}-{name}")


def unacceptable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same with a phase in a tier that there is not."""
    first, *others = data["phases"]
    return {**data, "phases": [{**first, "tier_id": "T9"}, *others]}


class Plans:
    """Runs without end, now on this target, now on that, whose phases behave in all the ways there are."""

    def __init__(self, aimed_at: tuple[Target, ...]) -> None:
        self.projects = tuple(target.project for target in aimed_at)
        self._targets = itertools.cycle(aimed_at)
        self._numbers = itertools.count(1)

    def next(self, phases: int, kind: str = RUN) -> dict[str, Any]:
        """The data of a RunRequested with so many phases."""
        number, target = next(self._numbers), next(self._targets)
        chosen = itertools.islice(itertools.cycle(BEHAVIOURS), number % len(BEHAVIOURS), None)
        listed = [
            {**behaviour, "phase_id": f"{behaviour['phase_id']}-{place}"}
            for place, behaviour in enumerate(itertools.islice(chosen, phases), 1)
        ]
        return request(target.address, listed, project=target.project, run_id=f"{kind}-{number}")
