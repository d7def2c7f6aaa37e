"""What builder and auditor work with."""

from dataclasses import dataclass
from pathlib import Path

from services.agents import Agents, AgentUnavailable, AgentUnknown, CommandDriver, ExternalAgent, Role
from services.artifacts import ArtifactStore
from services.candidates import Candidates
from services.preparation import Preparations
from services.runner.worker import Terms


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
