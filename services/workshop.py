"""What builder and auditor work with, and what may stand in their way before an agent has begun."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar, assert_never

from events.families.failure import FailureClass
from services.agents import (
    AgentFailure,
    Agents,
    AgentUnavailable,
    AgentUnknown,
    AuditAnswer,
    BuildAnswer,
    CommandAgent,
    CommandDriver,
    ExternalAgent,
    Role,
    Session,
)
from services.artifacts import ArtifactStore
from services.candidates import Candidates, PatchesConflict, failure_class
from services.git.failures import GitFailure
from services.preparation import PreparationFailed, Preparations
from services.runner.worker import Assignment, Terms
from services.sandbox import Mount, SandboxUnavailable
from services.usage import usage_of

SHORTEST_SESSION_SECONDS = 1.0
AnswerT = TypeVar("AnswerT", bound=BuildAnswer | AuditAnswer | AgentFailure)


class DefaultIsExternal(Exception):
    """The default agent is external, and nothing here starts it"""

    def __init__(self, role: Role):
        super().__init__(f"{self.__doc__}: {role}")


Obstacle = (
    AgentUnknown
    | AgentUnavailable
    | DefaultIsExternal
    | PreparationFailed
    | SandboxUnavailable
    | PatchesConflict
    | GitFailure
)
OBSTACLES = (
    AgentUnknown,
    AgentUnavailable,
    DefaultIsExternal,
    PreparationFailed,
    SandboxUnavailable,
    PatchesConflict,
    GitFailure,
)


def obstacle_class(obstacle: Obstacle) -> FailureClass:
    """What an obstacle means for the run."""
    match obstacle:
        case AgentUnknown() | AgentUnavailable() | DefaultIsExternal():
            return FailureClass.MISSING_AGENT
        case PreparationFailed():
            return FailureClass.PREPARATION
        case SandboxUnavailable():
            return FailureClass.SANDBOX_UNAVAILABLE
        case PatchesConflict():
            return FailureClass.CONFLICT
        case GitFailure():
            return failure_class(obstacle)
        case _:
            assert_never(obstacle)


@dataclass(frozen=True, slots=True)
class Workshop:
    """Agents, how they are driven, and where their work lies."""

    agents: Agents
    driver: CommandDriver
    candidates: Candidates
    store: ArtifactStore
    folder: Path
    preparations: Preparations

    def terms(self, role: Role, name: str | None, limit_seconds: float, preparing_seconds: float = 0.0) -> Terms:
        """What a claim says: the lesser of the request's limit and the agent's own, with time to prepare.

        An agent that cannot be resolved is claimed all the same: that it is missing is the answer.
        """
        sandbox = self.driver.sandbox.name
        try:
            agent = self.agents.resolve(role, name)
        except (AgentUnknown, AgentUnavailable):
            return Terms(limit_seconds, agent=name, sandbox=sandbox)
        if isinstance(agent, ExternalAgent):
            return Terms(limit_seconds, agent=agent.name)
        own_seconds = agent.timeout_seconds + preparing_seconds
        return Terms(min(limit_seconds, own_seconds), agent=agent.name, sandbox=sandbox)

    def agent(self, role: Role, name: str | None) -> CommandAgent:
        """The agent of a request. Raises AgentUnknown, AgentUnavailable, DefaultIsExternal."""
        agent = self.agents.resolve(role, name)
        if isinstance(agent, ExternalAgent):
            raise DefaultIsExternal(role)
        return agent


def session_of(assignment: Assignment, give_up_at: float, lent: tuple[Mount, ...] = ()) -> Session:
    """An agent's time: until then (on the monotonic clock), or until its request is revoked."""
    return Session(
        limit_seconds=max(SHORTEST_SESSION_SECONDS, give_up_at - monotonic()),
        stop=assignment.revoked,
        on_line=assignment.say,
        lent=lent,
    )


async def paid(assignment: Assignment, work: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
    """What an agent answers. What it cost stands with the assignment, whatever becomes of the answer.

    Raises WorkReplaced where nobody has asked for it any more, and then the agent has not begun.
    """
    await assignment.still_ours()
    assignment.spending.begun = True
    answer = await work()
    assignment.spending.usage = usage_of(answer.usage)
    return answer
