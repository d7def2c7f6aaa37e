"""The operator's agents: what `agents.toml` says, checked, and the agent that a name stands for."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from events.plan import EXTERNAL
from services.sandbox import SecretForbidden
from services.sandbox.environment import check_secret_name

COMMAND_LINE = "command-line"
DEFAULT_TIMEOUT_SECONDS = 1800.0
DEFAULT_IDLE_SECONDS = 300.0


class Role(StrEnum):
    """What an agent is asked to do."""

    BUILDER = "builder"
    AUDITOR = "auditor"


class AgentsFileInvalid(Exception):
    """The file of agents cannot be used"""

    def __init__(self, path: Path, faults: tuple[str, ...]):
        super().__init__(f"{self.__doc__}: {path}: {'; '.join(faults)}")
        self.path = path
        self.faults = faults


class AgentUnknown(Exception):
    """No such agent is configured"""

    def __init__(self, role: Role, name: str | None, known: tuple[str, ...], file: Path):
        wanted = f"a {role} named {name!r}" if name else f"a default {role}"
        there = ", ".join(known) if known else "none"
        super().__init__(f"{self.__doc__}: {wanted}; {file} has: {there}")


class AgentUnavailable(Exception):
    """The agent is of a kind that this version cannot drive"""

    def __init__(self, role: Role, name: str, kind: str):
        super().__init__(
            f"{self.__doc__}: {role} {name!r} is of kind {kind!r}, which is not available in this version"
        )


@dataclass(frozen=True, slots=True)
class CommandAgent:
    """An agent that is a command, with what it may use; `secrets` are names in the service's environment."""

    name: str
    argv: tuple[str, ...]
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    idle_seconds: float = DEFAULT_IDLE_SECONDS
    network: bool = False
    secrets: tuple[str, ...] = ()
    readonly_paths: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalAgent:
    """An agent that runs elsewhere and fetches its work: nothing is started."""

    name: str = EXTERNAL


@dataclass(frozen=True, slots=True)
class UnavailableAgent:
    """An agent of a kind that is known, but cannot be driven yet."""

    name: str
    kind: str


Agent = CommandAgent | ExternalAgent | UnavailableAgent


def _secret_name(name: str) -> str:
    try:
        check_secret_name(name)
    except SecretForbidden as error:
        raise ValueError(str(error)) from error
    return name


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class _Limited(_Section):
    timeout_seconds: Annotated[float, Field(gt=0, le=7 * 86_400)] = DEFAULT_TIMEOUT_SECONDS
    idle_seconds: Annotated[float, Field(gt=0, le=7 * 86_400)] = DEFAULT_IDLE_SECONDS
    network: bool = False
    secrets: list[Annotated[str, AfterValidator(_secret_name)]] = []
    readonly_paths: list[Annotated[str, AfterValidator(_absolute)]] = []


class _Command(_Limited):
    kind: Literal["command"]
    argv: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class _External(_Section):
    kind: Literal["external"]


class _Later(_Limited):
    kind: Literal["codex", "cursor", "claude", "opencode", "acp"]
    argv: list[str] | None = None
    model: str | None = None


_AnyAgent = Annotated[_Command | _External | _Later, Field(discriminator="kind")]


class _Defaults(_Section):
    builder: str | None = None
    auditor: str | None = None


class _File(_Section):
    defaults: _Defaults = _Defaults()
    builder: dict[str, _AnyAgent] = {}
    auditor: dict[str, _AnyAgent] = {}


@dataclass(frozen=True, slots=True)
class Agents:
    """All agents by role and name, which of them are the defaults, and the file that says so."""

    builders: Mapping[str, Agent] = field(default_factory=dict)
    auditors: Mapping[str, Agent] = field(default_factory=dict)
    default_builder: str | None = None
    default_auditor: str | None = None
    file: Path = Path("agents.toml")

    def resolve(self, role: Role, name: str | None = None) -> CommandAgent | ExternalAgent:
        """Give the agent of a name, or the default one. Raises AgentUnknown and AgentUnavailable."""
        match role:
            case Role.BUILDER:
                known, wanted = self.builders, name or self.default_builder
            case Role.AUDITOR:
                known, wanted = self.auditors, name or self.default_auditor
        if wanted == EXTERNAL:
            return ExternalAgent()
        agent = known.get(wanted) if wanted else None
        match agent:
            case None:
                raise AgentUnknown(role, wanted, tuple(known), self.file)
            case UnavailableAgent():
                raise AgentUnavailable(role, agent.name, agent.kind)
            case _:
                return agent

    def with_command(self, role: Role, argv: tuple[str, ...]) -> "Agents":
        """Make a command given on the command line the default of a role."""
        agent = CommandAgent(COMMAND_LINE, argv)
        match role:
            case Role.BUILDER:
                agents = {**self.builders, COMMAND_LINE: agent}
                return replace(self, builders=agents, default_builder=COMMAND_LINE)
            case Role.AUDITOR:
                agents = {**self.auditors, COMMAND_LINE: agent}
                return replace(self, auditors=agents, default_auditor=COMMAND_LINE)


def load_agents(path: Path, *, needed: bool = False) -> Agents:
    """Read the file of agents; where there is none and none is `needed`, no agent is configured.

    Raises AgentsFileInvalid.
    """
    if not needed and not path.exists():
        return Agents(file=path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise AgentsFileInvalid(path, (str(error),)) from error
    try:
        file = _File.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise AgentsFileInvalid(path, tuple(_faults(error))) from error
    except (ValueError, RecursionError) as error:  # also a number that no int takes, and deep nesting
        raise AgentsFileInvalid(path, (str(error),)) from error
    faults = tuple(_contradictions(file))
    if faults:
        raise AgentsFileInvalid(path, faults)
    return _agents(path, file)


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in fault["loc"]]
        # The kind stands third where an agent's own keys are checked; it is no key in the file.
        if len(place) > 3 and place[0] in tuple(Role):
            del place[2]
        message = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        yield f"{'.'.join(place)}: {message}"


def _contradictions(file: _File) -> Iterator[str]:
    for role, agents, default in (
        (Role.BUILDER, file.builder, file.defaults.builder),
        (Role.AUDITOR, file.auditor, file.defaults.auditor),
    ):
        if default is not None and default != EXTERNAL and default not in agents:
            yield f"defaults.{role}: no {role} is named {default!r}"
        reserved = agents.get(EXTERNAL)
        if reserved is not None and reserved.kind != EXTERNAL:
            yield f"{role}.{EXTERNAL}: the name is kept for agents of that kind"


def _agents(path: Path, file: _File) -> Agents:
    return Agents(
        {name: _agent(name, given) for name, given in file.builder.items()},
        {name: _agent(name, given) for name, given in file.auditor.items()},
        file.defaults.builder,
        file.defaults.auditor,
        path,
    )


def _agent(name: str, given: _Command | _External | _Later) -> Agent:
    match given:
        case _External():
            return ExternalAgent(name)
        case _Later():
            return UnavailableAgent(name, given.kind)
        case _Command():
            return CommandAgent(
                name,
                tuple(given.argv),
                given.timeout_seconds,
                given.idle_seconds,
                given.network,
                tuple(given.secrets),
                tuple(Path(path) for path in given.readonly_paths),
            )
