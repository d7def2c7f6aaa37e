"""Agents: which ones an operator has, how they are driven, and what they answer."""

from services.agents.answers import (
    AgentFailure,
    AuditAnswer,
    BuildAnswer,
    Finding,
    Issue,
    Probe,
    Report,
    Tokens,
    Usage,
    Verdict,
)
from services.agents.command import CommandDriver, Session
from services.agents.configuration import (
    Agents,
    AgentsFileInvalid,
    AgentUnavailable,
    AgentUnknown,
    CommandAgent,
    ExternalAgent,
    Role,
    load_agents,
)

__all__ = [
    "AgentFailure",
    "AgentUnavailable",
    "AgentUnknown",
    "Agents",
    "AgentsFileInvalid",
    "AuditAnswer",
    "BuildAnswer",
    "CommandAgent",
    "CommandDriver",
    "ExternalAgent",
    "Finding",
    "Issue",
    "Probe",
    "Report",
    "Role",
    "Session",
    "Tokens",
    "Usage",
    "Verdict",
    "load_agents",
]
