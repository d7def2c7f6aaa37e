"""`plan check`: everything that is wrong with a plan, and the strategy that it would freeze."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from events.configuration import Checks, Configuration, ConfigurationInvalid, parse_configuration
from events.decide.room import too_large
from events.families.run import Strategy
from events.plan import Fault, RunRequest, tiers_in_order
from events.playbook import NoChecks, checks_of, compile_strategy
from services.cli.failures import PlanInvalid
from services.cli.output import table
from services.cli.plan_files import PlanFile
from services.cli.repositories import committed_configuration, is_address
from services.cli.run_requests import placed


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan without fault. `configured` tells whether the repository's own autopack.toml was read."""

    request: RunRequest
    strategy: Strategy
    configured: bool


def check_plan(plan: PlanFile, request: RunRequest) -> CheckedPlan:
    """Compile the strategy of a request. Raises PlanInvalid, also where the repository has no check for it, or
    where with its configuration no event could hold the run.
    """
    configuration = _configuration(plan, request)
    try:
        strategy = compile_strategy(request, configuration or Configuration())
    except NoChecks as error:
        if configuration is not None:
            raise PlanInvalid(plan.name, (Fault(place=plan.place(("checks",)), message=str(error)),)) from error
        # The repository was not looked at, and may have the checks that are missing here.
        unchecked = request.model_copy(update={"checks": "none"})
        strategy = compile_strategy(unchecked, Configuration()).model_copy(update={"checks": request.checks})
    if configuration is not None and (faults := too_large(request, strategy, configuration.prepare)):
        raise PlanInvalid(plan.name, tuple(placed(plan, fault) for fault in faults))
    return CheckedPlan(request, strategy, configuration is not None)


def _configuration(plan: PlanFile, request: RunRequest) -> Configuration | None:
    """The repository's configuration, None where there is no local repository to read it from."""
    if request.repository is None or is_address(request.repository) or not Path(request.repository).exists():
        return None
    text = committed_configuration(Path(request.repository), request.base)
    try:
        return parse_configuration(text)
    except ConfigurationInvalid as error:
        faults = (Fault(place=request.repository, message=line) for line in str(error).splitlines())
        raise PlanInvalid(plan.name, tuple(faults)) from error


def as_document(checked: CheckedPlan) -> dict[str, object]:
    """What `--json` prints of a plan without fault."""
    return {
        "valid": True,
        "repository_read": checked.configured,
        "request": checked.request.model_dump(mode="json"),
        "strategy": checked.strategy.model_dump(mode="json"),
    }


def invalid_document(error: PlanInvalid) -> dict[str, object]:
    """What `--json` prints of a plan with faults."""
    return {"valid": False, "faults": [fault.model_dump() for fault in error.faults]}


def as_text(checked: CheckedPlan) -> list[RenderableType]:
    """The strategy for people: limits, phases, checks."""
    request, strategy = checked.request, checked.strategy
    tiers = len(tiers_in_order(request))
    cap = "no cap" if request.token_cap is None else f"{request.token_cap:,} tokens"
    minutes = "no limit" if request.max_duration_minutes is None else f"{request.max_duration_minutes:g} minutes"
    return [
        f"The plan is valid: {len(strategy.phases)} phases in {tiers} tiers, at most {cap} and {minutes}.\n",
        *_phases_left_out(checked),
        _phases(request, strategy),
        "",
        _checks(checked),
    ]


def _phases_left_out(checked: CheckedPlan) -> list[str]:
    """A run ends at its limit of phases, when all before it have been paid for: better told beforehand."""
    most, phases = checked.request.max_phases, len(checked.strategy.phases)
    if most is None or phases <= most:
        return []
    return [f"Only {most} of them may begin, and then the run fails: raise max_phases, or split the plan.\n"]


def _phases(request: RunRequest, strategy: Strategy) -> RenderableType:
    tier_of = {phase.phase_id: phase.tier_id for phase in request.phases}
    return table(
        ("tier", "phase", "category", "complexity", "CI", "attempts", "audits", "audit first", "token cap"),
        (
            (
                tier_of[phase.phase_id],
                phase.phase_id,
                phase.category,
                phase.complexity,
                phase.ci_profile,
                phase.builder_attempts,
                phase.auditor_attempts,
                phase.auditor_profile if phase.audit_required else None,
                f"{phase.incident_token_cap:,}",
            )
            for phase in strategy.phases
        ),
    )


def _checks(checked: CheckedPlan) -> str:
    if not checked.configured:
        return "Checks: those of the repository's autopack.toml as well; name it with --repo to see them."
    checks = checked.strategy.checks
    if not isinstance(checks, Checks):
        return "Checks: none. The run is recorded as unchecked and can never be promoted."
    lines = [
        f"  {profile:<7} {check.name}: {' '.join(check.argv)}"
        for profile in sorted({phase.ci_profile for phase in checked.strategy.phases})
        for check in checks_of(checks, profile)
    ]
    return "\n".join(["Checks, by CI profile:", *lines])
