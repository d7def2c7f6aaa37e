"""Services that are not as this version has them, in ways that a child of the template is given the names of."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.idle import IdleWorker

from events import codec
from events.configuration import parse_configuration
from events.families.base import ArtifactRef
from events.families.build import BuildRequested
from events.families.run import RunPrepared
from events.families.tier import TierStarted
from events.families.work import WorkStarted
from projections.tiers import TIERS
from services.applier.applier import Applier
from services.auditor.auditor import Auditor
from services.builder.builder import Builder
from services.verifier.verifier import Verifier
from support.builds import GREEN

VARIABLE = "FAULTS_CHANGE"
STUMBLING, UPGRADED, QUICK = "stumbling", "upgraded", "quick"
STUMBLES_IN = "shop"
NEWER_TYPE = "autopack.WorkStarted.v2"


def _stumble() -> None:
    """One projection raises on one type of event of one project."""
    honest = TIERS.project

    def project(rows: Any, entry: Any) -> Any:
        if entry.project == STUMBLES_IN and isinstance(entry.data, TierStarted):
            raise RuntimeError("cannot fold this")
        return honest(rows, entry)

    object.__setattr__(TIERS, "project", project)


def _upgrade() -> None:
    """The next version: it reads and writes `NEWER_TYPE`."""
    WorkStarted.version = 2
    codec.UPCASTERS = {**codec.UPCASTERS, (WorkStarted.__name__, 1): lambda data: data}


AGENT_SECONDS = 0.1
PREPARED = {"configuration": parse_configuration(GREEN)}
PATCH = ArtifactRef(digest="sha256:" + "a" * 64, size_bytes=100)


def _quicken() -> None:
    """Workers that say at once that all went well, but for agents, which take their time."""

    async def perform(self: Any, assignment: Any) -> Any:
        if isinstance(assignment.request, BuildRequested):
            await asyncio.sleep(AGENT_SECONDS)
        answer = await IdleWorker(self.traits, PATCH).perform(assignment)
        return answer.model_copy(update=PREPARED) if isinstance(answer, RunPrepared) else answer

    for worker in (Builder, Auditor, Applier, Verifier):
        worker.perform = perform


_CHANGES: Mapping[str, Callable[[], None]] = {STUMBLING: _stumble, UPGRADED: _upgrade, QUICK: _quicken}


def apply(names: str) -> None:
    """Be changed from now on, in each of the ways that are named, with commas between them."""
    for name in names.split(","):
        _CHANGES[name]()
