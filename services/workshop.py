"""What builder and auditor work with."""

from dataclasses import dataclass
from pathlib import Path

from services.agents import Agents, CommandDriver
from services.artifacts import ArtifactStore
from services.candidates import Candidates
from services.preparation import Preparations


@dataclass(frozen=True, slots=True)
class Workshop:
    """Agents, how they are driven, and where their work lies."""

    agents: Agents
    driver: CommandDriver
    candidates: Candidates
    store: ArtifactStore
    folder: Path
    preparations: Preparations
