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
    """The refs of a repository, name to object."""
    lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return dict(line.split(" ") for line in lines)


TRACKED = "tracked-"
TRACKED_PHASE = "elsewhere"


def tracked(number: int) -> dict[str, Any]:
    """The data of a run that waits for somebody else's builder, until it is cancelled."""
    phases = [{"phase_id": TRACKED_PHASE}]
    return request(None, phases, run_id=f"{TRACKED}{number}", agents={"builder": "external"})


def end_of(run_id: str) -> str:
    """How a run ends if all is well."""
    return "DONE_FAILED_CANCELLED" if run_id.startswith(TRACKED) else "DONE_SUCCESS"


class Plans:
    """Runs without end, now on this target, now on that, whose phases behave in all the ways there are."""

    def __init__(self, aimed_at: tuple[Target, ...]) -> None:
        self._targets = itertools.cycle(aimed_at)
        self._numbers = itertools.count(1)

    def next(self, phases: int) -> dict[str, Any]:
        """The data of a RunRequested with so many phases."""
        number, target = next(self._numbers), next(self._targets)
        chosen = itertools.islice(itertools.cycle(BEHAVIOURS), number % len(BEHAVIOURS), None)
        listed = [
            {**behaviour, "phase_id": f"{behaviour['phase_id']}-{place}"}
            for place, behaviour in enumerate(itertools.islice(chosen, phases), 1)
        ]
        return request(target.address, listed, project=target.project, run_id=f"run-{number}")
