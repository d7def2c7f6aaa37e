"""A run request: the data of RunRequested, the body of `POST /runs/start`, and a plan file, as one schema."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from events.configuration import Checks
from events.families.base import CostUsd, Count, Path, Text, Value

EXTERNAL = "external"
MOST_PHASES = 250
"""Phases (and tiers) in one plan: all that may begin side by side must fit into one step of the log."""


def _refuse_awkward(identifier: str) -> str:
    if ".." in identifier or identifier.endswith((".lock", ".")):
        raise ValueError("must not hold '..' nor end in '.lock' or '.'")
    return identifier


SafeId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    AfterValidator(_refuse_awkward),
    # For readers of the schema; the library that checks here knows no look-ahead.
    Field(json_schema_extra={"pattern": r"^(?!.*\.\.)(?!.*(\.lock|\.)$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"}),
]
TierId = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class SafetyProfile(StrEnum):
    """How little a run tolerates."""

    NORMAL = "normal"
    SAFETY_CRITICAL = "safety_critical"


class RunScope(StrEnum):
    """Whether a run handles every tier in order, or one."""

    MULTI_TIER = "multi_tier"
    SINGLE_TIER = "single_tier"


class TierSpec(Value):
    """A group of phases; tiers are worked in the order of their index."""

    tier_id: TierId
    tier_index: Count
    name: Text
    description: Text | None = None


class PhaseSpec(Value):
    """One piece of work for a builder.

    `scope` None means all that is not protected; `depends_on` None means the phase before in its tier.
    `allow` names protected paths or kinds (`executable`, `non_ascii_names`) that this phase may touch.
    """

    phase_id: SafeId
    tier_id: TierId
    phase_index: Count
    name: Text
    description: Annotated[str, StringConstraints(max_length=20_000)] | None = None
    task_category: Text | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    builder_mode: Text | None = None
    scope: tuple[Path, ...] | None = None
    allow: tuple[Path, ...] = ()
    depends_on: tuple[SafeId, ...] | None = None


class AgentChoice(Value):
    """Agents by the names that the operator gave them; None is the operator's default."""

    builder: Text | None = None
    auditor: Text | None = None


_MANY = Field(json_schema_extra={"maxItems": MOST_PHASES})
"""For readers of the schema; `plan_faults` names the fault in words."""


class RunRequest(Value):
    """A whole run as somebody asks for it."""

    run_id: SafeId | None = None
    project: SafeId | None = None
    repository: Path | None = None
    base: Text | None = None
    safety_profile: SafetyProfile = SafetyProfile.NORMAL
    run_scope: RunScope = RunScope.MULTI_TIER
    tier: TierId | None = None
    token_cap: Count | None = 5_000_000
    max_cost_usd: CostUsd | None = None
    max_phases: Count | None = 25
    max_duration_minutes: Annotated[float, Field(gt=0, le=525_600)] | None = 120
    agents: AgentChoice = AgentChoice()
    checks: Checks | Literal["none"] | None = None
    tiers: Annotated[tuple[TierSpec, ...], _MANY] = ()
    phases: Annotated[tuple[PhaseSpec, ...], _MANY] = ()
    follows: SafeId | None = None
    retry_of: SafeId | None = None


class Fault(Value):
    """One thing that is wrong with what was submitted, and where."""

    place: str
    message: str


def plan_faults(request: RunRequest) -> tuple[Fault, ...]:
    """Every fault of a well-typed plan: duplicate ids, unknown references, cycles, an empty plan."""
    if len(request.phases) > MOST_PHASES or len(request.tiers) > MOST_PHASES:
        message = f"at most {MOST_PHASES} phases and as many tiers; split the plan into several runs"
        return (Fault(place="phases", message=message),)
    return (
        *_duplicates("tiers", "tier_id", [t.tier_id for t in request.tiers]),
        *_duplicates("tiers", "tier_index", [str(t.tier_index) for t in request.tiers]),
        *_duplicates("phases", "phase_id", [p.phase_id for p in request.phases]),
        *_unknown_tiers(request),
        *_scope_faults(request),
        *_check_faults(request),
        *_emptiness(request),
        *dependency_faults(request),
    )


def _duplicates(where: str, key: str, values: list[str]) -> list[Fault]:
    first: dict[str, int] = {}
    faults = []
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            faults.append(
                Fault(place=f"{where}[{index}].{key}", message=f"{value!r} is taken by {where}[{first[value]}]")
            )
    return faults


def _check_faults(request: RunRequest) -> list[Fault]:
    """Strict phases run both lists, and results, logs and flakes go by the name of their check."""
    if not isinstance(request.checks, Checks):
        return []
    taken: dict[str, str] = {}
    faults = []
    for profile, checks in (("normal", request.checks.normal), ("strict", request.checks.strict)):
        for index, check in enumerate(checks):
            place = f"checks.{profile}[{index}]"
            if taken.setdefault(check.name, place) != place:
                message = f"{check.name!r} is taken by {taken[check.name]}"
                faults.append(Fault(place=f"{place}.name", message=message))
    return faults


def _unknown_tiers(request: RunRequest) -> list[Fault]:
    known = {t.tier_id for t in request.tiers}
    return [
        Fault(place=f"phases[{i}].tier_id", message=f"unknown tier {p.tier_id!r}")
        for i, p in enumerate(request.phases)
        if p.tier_id not in known
    ]


def _scope_faults(request: RunRequest) -> list[Fault]:
    if request.run_scope is RunScope.MULTI_TIER:
        return [] if request.tier is None else [Fault(place="tier", message="only single_tier runs name a tier")]
    if request.tier is None:
        one = len(request.tiers) == 1
        return [] if one else [Fault(place="tier", message="a single_tier run of several tiers must name one")]
    known = any(t.tier_id == request.tier for t in request.tiers)
    return [] if known else [Fault(place="tier", message=f"unknown tier {request.tier!r}")]


def _emptiness(request: RunRequest) -> list[Fault]:
    if request.agents.builder == EXTERNAL:
        return []
    if not request.phases:
        return [Fault(place="phases", message="a plan needs at least one phase")]
    if request.tier is not None and not phases_in_order(request):
        return [Fault(place="phases", message=f"no phase belongs to tier {request.tier!r}")]
    if request.repository is None:
        return [Fault(place="repository", message="needed, unless the builder is 'external'")]
    return []


def tiers_in_order(request: RunRequest) -> tuple[TierSpec, ...]:
    """The tiers that this run handles, in the order in which they are worked."""
    chosen = request.tier if request.run_scope is RunScope.SINGLE_TIER else None
    tiers = [t for t in request.tiers if chosen is None or t.tier_id == chosen]
    return tuple(sorted(tiers, key=lambda t: t.tier_index))


def phases_in_order(request: RunRequest) -> tuple[PhaseSpec, ...]:
    """The phases that this run handles: by tier, then by index, then as written."""
    rank = {t.tier_id: i for i, t in enumerate(tiers_in_order(request))}
    mine = [p for p in request.phases if p.tier_id in rank]
    return tuple(sorted(mine, key=lambda p: (rank[p.tier_id], p.phase_index)))


def dependencies(request: RunRequest) -> dict[str, tuple[str, ...]]:
    """What each phase waits for, with the default (the phase before in its tier) filled in."""
    found: dict[str, tuple[str, ...]] = {}
    previous: dict[str, str] = {}
    for phase in phases_in_order(request):
        before = previous.get(phase.tier_id)
        default = (before,) if before is not None else ()
        found[phase.phase_id] = default if phase.depends_on is None else phase.depends_on
        previous[phase.tier_id] = phase.phase_id
    return found


def dependency_faults(request: RunRequest) -> list[Fault]:
    """Unknown phases, phases of a later tier, and cycles."""
    order = {p.phase_id: i for i, p in enumerate(phases_in_order(request))}
    tier = {p.phase_id: p.tier_id for p in request.phases}
    rank = {t.tier_id: i for i, t in enumerate(tiers_in_order(request))}
    faults = []
    for index, phase in enumerate(request.phases):
        for needed in phase.depends_on or ():
            place = f"phases[{index}].depends_on"
            if needed not in tier:
                faults.append(Fault(place=place, message=f"unknown phase {needed!r}"))
            elif needed in order and rank.get(tier[needed], 0) > rank.get(phase.tier_id, 0):
                faults.append(Fault(place=place, message=f"{needed!r} belongs to a later tier"))
            elif needed not in order and phase.phase_id in order:
                faults.append(Fault(place=place, message=f"{needed!r} is not part of this run"))
    cycle = _cycle(dependencies(request)) if len(tier) == len(request.phases) else []
    return [*faults, Fault(place="phases", message=f"cycle: {' -> '.join(cycle)}")] if cycle else faults


def _cycle(graph: dict[str, tuple[str, ...]]) -> list[str]:
    """One cycle as a list of phase ids that ends where it began, or nothing."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                path.pop()
                done.add(node)
            elif node in path:
                return [*path[path.index(node) :], node]
            elif node not in done and node in graph:
                path.append(node)
                stack.append((node, True))
                stack.extend((n, False) for n in graph[node])
    return []
