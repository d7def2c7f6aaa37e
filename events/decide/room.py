"""Room in events: what of a request is left out, and which plans are refused, so that every event fits.

A request holds what is known when its run is accepted (the phase, the paths, the checks), which must fit
beforehand, and what comes up on the way (feedback, concerns, probes), of which it takes as much as it can.
"""

from collections.abc import Iterator

from events.configuration import Checks, Configuration, Preparation
from events.families.audit import AuditRequested
from events.families.base import Feedback
from events.families.build import BuildRequested
from events.families.run import Incident, RunAccepted, RunFailed, Strategy
from events.families.sizes import DATA_LIMIT_BYTES, clipped, first, last, size_bytes
from events.families.verify import RESULTS_LIMIT_BYTES, barest_results
from events.plan import Fault, PhaseSpec, RunRequest
from events.playbook import checks_of, compile_strategy

ROOM_BYTES = 20 * 1024
"""Kept free in each request: for numbers and names, for the latest feedback, or for `MOST_PATCHES`."""
REQUEST_LIMIT_BYTES = DATA_LIMIT_BYTES - ROOM_BYTES
CONTEXT_LIMIT_BYTES = 8 * 1024
LEAST_CONTEXT_BYTES = 64
"""Less tells nobody anything."""


_REMEDY = "shorten its description, its paths or the checks, or split it"


def with_feedback(request: BuildRequested, feedback: tuple[Feedback, ...]) -> BuildRequested:
    """The request with as much feedback as fits; the oldest is left out first, the latest never."""
    left = DATA_LIMIT_BYTES - size_bytes(request)
    return request.model_copy(update={"feedback": last(feedback, left)})


def within_limit(request: AuditRequested) -> AuditRequested:
    """The request without what there is no room for: first the probes, then the context, then the concerns."""
    bare = request.model_copy(update={"concerns": (), "probes": (), "context": ""})
    left = DATA_LIMIT_BYTES - size_bytes(bare)
    concerns = first(request.concerns, left)
    left -= size_bytes(concerns)
    context = clipped(request.context, min(left, CONTEXT_LIMIT_BYTES)) if left > LEAST_CONTEXT_BYTES else ""
    probes = first(request.probes, left - size_bytes(context))
    return bare.model_copy(update={"concerns": concerns, "context": context, "probes": probes})


def with_details(failed: RunFailed, details: tuple[str, ...]) -> RunFailed:
    """The terminal event with as much of what went before as fits; the oldest is left out first."""
    left = DATA_LIMIT_BYTES - size_bytes(failed)
    incident: Incident = failed.incident.model_copy(update={"details": last(details, left)})
    return failed.model_copy(update={"incident": incident})


def plan_too_large(request: RunRequest) -> tuple[Fault, ...]:
    """What of a plan no event could hold, whatever the repository says."""
    unchecked = request.model_copy(update={"checks": "none"})
    strategy = compile_strategy(unchecked, Configuration())
    own_checks = request.checks if isinstance(request.checks, Checks) else None
    return too_large(request, strategy.model_copy(update={"checks": own_checks}), None)


def too_large(request: RunRequest, strategy: Strategy, prepare: Preparation | None) -> tuple[Fault, ...]:
    """What of a run no event could hold: its strategy, or what is asked for in one of its phases."""
    return (
        *_strategy_too_large(strategy),
        *_results_too_large(strategy),
        *_phases_too_large(request, strategy, prepare),
    )


def _strategy_too_large(strategy: Strategy) -> Iterator[Fault]:
    accepted = RunAccepted(base_commit="f" * 64, integration_branch="b" * 128, strategy=strategy)
    taken = size_bytes(accepted)
    if taken > DATA_LIMIT_BYTES:
        message = f"together they take {taken} bytes of an event, {DATA_LIMIT_BYTES} at most; split the plan"
        yield Fault(place="phases", message=message)


def _results_too_large(strategy: Strategy) -> Iterator[Fault]:
    """Green is told by the names of all checks: one that there is no room to name could never be accepted."""
    profiles = {phase.ci_profile for phase in strategy.phases} if strategy.checks else set[str]()
    asked = max((checks_of(strategy.checks or Checks(), profile) for profile in profiles), key=len, default=())
    taken = size_bytes(barest_results(asked))
    if taken > RESULTS_LIMIT_BYTES:
        message = f"the results of {len(asked)} take {taken} bytes of an event, {RESULTS_LIMIT_BYTES} at most"
        yield Fault(place="checks", message=f"{message}; let one check run several commands")


def _phases_too_large(request: RunRequest, strategy: Strategy, prepare: Preparation | None) -> Iterator[Fault]:
    index = {spec.phase_id: number for number, spec in enumerate(request.phases)}
    specs = {spec.phase_id: spec for spec in request.phases}
    everywhere = size_bytes(request.repository) + size_bytes(request.agents) + size_bytes(prepare)
    protected = size_bytes(strategy.protected)
    checks = {
        profile: size_bytes(checks_of(strategy.checks, profile)) if strategy.checks else 0
        for profile in ("normal", "strict")
    }
    for phase in strategy.phases:
        spec = specs[phase.phase_id]
        asked = size_bytes(spec) + size_bytes(phase.auditor_profile)
        governed = _heading_bytes(spec) + max(protected, checks[phase.ci_profile])
        taken = everywhere + max(asked, governed)
        if taken > REQUEST_LIMIT_BYTES:
            message = f"it takes {taken} bytes of an event, {REQUEST_LIMIT_BYTES} at most; {_REMEDY}"
            yield Fault(place=f"phases[{index[phase.phase_id]}]", message=message)


def _heading_bytes(spec: PhaseSpec) -> int:
    """A phase as applier and verifier are told of it: without its description."""
    return size_bytes(spec.model_copy(update={"description": None}))
