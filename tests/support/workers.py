"""Workers called directly: a home, a target repository, a sandbox that works here, and assignments."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from events.catalogue import AnyEventData
from events.configuration import Check
from events.envelope import write_history
from events.event import Event
from events.families.apply import ApplyRequested, CandidateOrigin, PatchAccepted
from events.families.audit import AuditRequested
from events.families.base import ArtifactRef, EventData
from events.families.build import BuildRequested
from events.families.integrate import IntegrationRequested
from events.families.run import PrepareRequested
from events.families.verify import ChecksRequested
from events.plan import PhaseSpec
from events.refs import integration_branch, snapshot_tag
from services.agents import Agents, CommandAgent, CommandDriver, Role
from services.applier.applier import Applier
from services.artifacts import open_artifacts
from services.auditor.auditor import Auditor
from services.builder.builder import Builder
from services.candidates import Candidates
from services.git.command import GitCommand
from services.preparation import Preparations
from services.runner.worker import Assignment
from services.sandbox import Sandbox, probe
from services.sandbox.uncontained import Uncontained
from services.verifier.verifier import Verifier
from services.workshop import Workshop
from support.repositories import FILES, git, make_repository, patch_between

SERVICE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "MODEL_KEY": "sk-model-key-123"}
REQUESTED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVENT_LIMIT_BYTES = 64 * 1024
RUN = "run-1"
PHASE = PhaseSpec(phase_id="P1", tier_id="T1", phase_index=0, name="Total the cart", description="Add it up.")


async def working_sandbox(kind: str = "bubblewrap") -> Sandbox:
    """Bubblewrap where it works, else the test is skipped; `none` is the one without protection."""
    if kind == "none":
        return Uncontained(SERVICE)
    tried = await probe(SERVICE)
    if tried.sandbox is None:
        pytest.skip(f"no sandbox works here: {tried.reason}")
    return tried.sandbox


def shell(source: str, name: str = "scripted", **options: Any) -> CommandAgent:
    """An agent that is a shell script."""
    return CommandAgent(name, ("sh", "-c", source), **options)


@dataclass
class Home:
    """One machine's workers, and the repository that they work on."""

    folder: Path
    repository: Path
    sandbox: Sandbox
    lines: list[str] = field(default_factory=list)
    shared_store: Path | None = None

    def __post_init__(self) -> None:
        self.store = open_artifacts(str(self.shared_store or self.folder / "artifacts"))
        self.candidates = Candidates(GitCommand(), self.folder / "mirrors", self.store)
        self.preparations = Preparations(self.sandbox, self.folder / "prepared")

    @property
    def base(self) -> str:
        """The commit of the repository's main branch."""
        return git(self.repository, "rev-parse", "main")

    def elsewhere(self, name: str) -> "Home":
        """Another machine, with the same repository and the same artifacts."""
        store = self.shared_store or self.folder / "artifacts"
        return Home(self.folder.parent / name, self.repository, self.sandbox, shared_store=store)

    def workshop(self, agent: CommandAgent | None, role: Role) -> Workshop:
        """What builder and auditor work with, of one agent."""
        agents = Agents() if agent is None else Agents().with_command(role, agent.argv)
        given = {} if agent is None else {"command-line": agent}
        builders, auditors = (given, {}) if role is Role.BUILDER else ({}, given)
        chosen = Agents(builders, auditors, agents.default_builder, agents.default_auditor)
        driver = CommandDriver(self.sandbox, self.folder / "scratch")
        return Workshop(chosen, driver, self.candidates, self.store, self.folder / "work", self.preparations)

    def builder(self, agent: CommandAgent | None) -> Builder:
        """A builder whose default agent this is."""
        return Builder(self.workshop(agent, Role.BUILDER))

    def auditor(self, agent: CommandAgent | None) -> Auditor:
        """An auditor whose default agent this is."""
        return Auditor(self.workshop(agent, Role.AUDITOR))

    def verifier(self) -> Verifier:
        """A verifier."""
        work = self.folder / "work"
        return Verifier(self.candidates, self.sandbox, self.store, self.preparations, work)

    def applier(self) -> Applier:
        """An applier."""
        return Applier(self.candidates)

    def assignment(self, request: EventData, **changes: Any) -> Assignment:
        """A claimed request."""
        values: dict[str, Any] = {
            "project": "shop",
            "run_id": RUN,
            "request_id": f"{type(request).__name__}-1",
            "requested_at": REQUESTED_AT,
            "request": request,
            "claim_id": str(uuid7()),
            "limit_seconds": 60.0,
            "say": self.lines.append,
        }
        return Assignment(**{**values, **changes})

    async def patch(self, old: str, new: str) -> ArtifactRef:
        """The patch between two commits of the repository, kept."""
        return await self.store.put(patch_between(self.repository, old, new))

    def left_over(self) -> list[str]:
        """What work has left behind in this home."""
        folders = [self.folder / name for name in ("work", "scratch")]
        folders += (self.folder / "mirrors").glob("*.git/autopack/quarantines")
        return [str(path) for folder in folders if folder.is_dir() for path in folder.iterdir()]

    async def accepted(
        self, patches: Sequence[ArtifactRef], **changes: Any
    ) -> tuple[PatchAccepted, CandidateOrigin]:
        """A candidate as the applier makes it, and what it is made of."""
        request = self.apply_request(patches, **changes)
        assignment = self.assignment(request)
        answer = await self.applier().perform(assignment)
        assert isinstance(answer, PatchAccepted), answer
        origin = CandidateOrigin(
            request_id=assignment.request_id,
            requested_at=REQUESTED_AT,
            attempt=request.attempt,
            title=request.title,
            parent=answer.parent,
            patches=request.patches,
        )
        return answer, origin

    def prepare_request(self, base: str | None = None, repository: Path | str | None = None) -> PrepareRequested:
        """That a run be prepared."""
        return PrepareRequested(repository=str(repository or self.repository), base=base, limit_seconds=60)

    def build_request(self, **changes: Any) -> BuildRequested:
        """A build of the one phase, on the repository's head."""
        values: dict[str, Any] = {
            "phase_id": "P1",
            "attempt": 1,
            "spec": PHASE,
            "repository": str(self.repository),
            "base_commit": self.base,
            "tokens_left": 1000,
            "seconds_left": 600.0,
            "limit_seconds": 60.0,
        }
        return BuildRequested(**{**values, **changes})

    def audit_request(self, patches: Sequence[ArtifactRef], **changes: Any) -> AuditRequested:
        """An audit of patches on the repository's head."""
        values: dict[str, Any] = {
            "phase_id": "P1",
            "attempt": 1,
            "audit": 1,
            "spec": PHASE,
            "repository": str(self.repository),
            "base_commit": self.base,
            "patches": tuple(patches),
            "auditor_profile": "refactor_review",
            "tokens_left": None,
            "limit_seconds": 60.0,
        }
        return AuditRequested(**{**values, **changes})

    def apply_request(self, patches: Sequence[ArtifactRef], **changes: Any) -> ApplyRequested:
        """That patches be applied to the repository's head."""
        values: dict[str, Any] = {
            "phase_id": "P1",
            "attempt": 1,
            "title": "Total the cart",
            "repository": str(self.repository),
            "parent": self.base,
            "patches": tuple(patches),
            "scope": None,
            "limit_seconds": 60.0,
        }
        return ApplyRequested(**{**values, **changes})

    def checks_request(
        self, accepted: PatchAccepted, origin: CandidateOrigin, checks: Sequence[Check], **changes: Any
    ) -> ChecksRequested:
        """Checks on a candidate."""
        values: dict[str, Any] = {
            "phase_id": "P1",
            "attempt": 1,
            "repository": str(self.repository),
            "candidate": accepted.candidate,
            "tree": accepted.tree,
            "base_commit": self.base,
            "origin": origin,
            "profile": "normal",
            "checks": tuple(checks),
            "tries": 3,
            "try_pause_seconds": 0.0,
            "limit_seconds": 60.0,
        }
        return ChecksRequested(**{**values, **changes})

    def integration_request(
        self, accepted: PatchAccepted, origin: CandidateOrigin, head: str | None = None, **changes: Any
    ) -> IntegrationRequested:
        """That a candidate become the head of the run's branch."""
        phase_id = changes.pop("phase_id", "P1")
        values: dict[str, Any] = {
            "phase_id": phase_id,
            "tier_id": "T1",
            "attempt": 1,
            "repository": str(self.repository),
            "candidate": accepted.candidate,
            "origin": origin,
            "branch": integration_branch(RUN),
            "expected_head": head,
            "tag": snapshot_tag(RUN, "T1", phase_id),
            "limit_seconds": 60.0,
        }
        return IntegrationRequested(**{**values, **changes})


async def open_home(root: Path, kind: str = "bubblewrap", files: dict[str, str | bytes] | None = None) -> Home:
    """A home under `root`, with a repository that holds the usual files and those given."""
    repository = make_repository(root / "repository", {**FILES, **(files or {})})
    return Home(root / "home", repository, await working_sandbox(kind))


def event_bytes(answer: AnyEventData) -> int:
    """How large the answer's record in the history is, with an envelope as large as they come."""
    event = Event("i" * 128, "/autopack/" + "s" * 118, "r" * 100, REQUESTED_AT, answer, "c" * 128, REQUESTED_AT)
    return len(write_history(event, "p" * 100, 10**9, "f" * 64))


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def with_command_line(word: str) -> list[int]:
    """The living processes, in whatever namespace, with a word in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if is_alive(pid) and pid != os.getpid()]


def deadline(seconds: float = 20.0) -> float:
    """A moment on the monotonic clock."""
    return time.monotonic() + seconds
