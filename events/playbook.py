"""The rulebook: what each category of phase demands, and the strategy compiled from it for one run."""

from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from events.configuration import Check, Checks, Configuration, RulesetSettings
from events.families.run import Limits, PhaseStrategy, Strategy
from events.plan import PhaseSpec, RunRequest, SafetyProfile, phases_in_order


class Category(Struct, frozen=True):
    """One row of the table of categories."""

    complexity: str
    ci_profile: str
    builder_attempts: int
    auditor_attempts: int
    incident_token_cap: int
    minor_issues_per_phase: float
    audit_required: bool
    auditor_profile: str | None
    severity: str


_COMMON = Category("medium", "normal", 3, 2, 500_000, 2.0, False, None, "minor")
_STRICT = Category("high", "strict", 2, 2, 1_000_000, 1.0, True, "refactor_review", "major")

OTHER = _COMMON
CATEGORIES = MappingProxyType(
    {
        "feature_scaffolding": _COMMON,
        "docs": Category("low", "normal", 2, 1, 200_000, 2.0, False, None, "minor"),
        "tests": Category("low", "normal", 3, 1, 300_000, 2.0, False, None, "minor"),
        "debt_cleanup": Category("medium", "normal", 2, 1, 400_000, 2.0, True, "debt_cleanup_review", "minor"),
        "cross_cutting_refactor": _STRICT,
        "index_registry_change": replace(_STRICT, incident_token_cap=800_000, auditor_profile="index_review"),
        "schema_contract_change": replace(_STRICT, auditor_attempts=3, auditor_profile="schema_review"),
        "bulk_multi_file_operation": replace(
            _STRICT, builder_attempts=1, incident_token_cap=1_500_000, auditor_profile="bulk_review"
        ),
        "security_auth_change": replace(
            _STRICT,
            auditor_attempts=3,
            incident_token_cap=800_000,
            minor_issues_per_phase=0.5,
            auditor_profile="security_review",
        ),
        "orchestrator": replace(_STRICT, auditor_profile="orchestrator_review"),
    }
)
ALIASES = MappingProxyType(
    {
        "schema_change": "schema_contract_change",
        "security_auth": "security_auth_change",
        "bulk_operation": "bulk_multi_file_operation",
        "index_registry_maintenance": "index_registry_change",
    }
)


def category_name(task_category: str | None) -> str:
    """The name of a row; free text stays as it is and gets the row for any other."""
    written = task_category or "other"
    return ALIASES.get(written, written)


def category_row(name: str, ruleset: RulesetSettings) -> Category:
    """The row of a category with the project's own numbers over the defaults."""
    row = CATEGORIES.get(name, OTHER)
    for written, overrides in sorted(ruleset.categories.items()):
        if category_name(written) == name:
            row = replace(row, **overrides.model_dump(exclude_none=True))
    return row


class NoChecks(Exception):
    """The run has no check that its phases could be held against."""


def compile_strategy(request: RunRequest, configuration: Configuration) -> Strategy:
    """Freeze the rules of one run. Raises NoChecks where a phase's CI profile has no check at all."""
    ruleset = configuration.ruleset
    phases = tuple(_phase_strategy(spec, request, ruleset) for spec in phases_in_order(request))
    checks = effective_checks(request, configuration)
    if checks is not None:
        _demand_checks(checks, phases)
    return Strategy(
        phases=phases,
        limits=Limits(
            builder_seconds=ruleset.builder_limit_seconds,
            auditor_seconds=ruleset.auditor_limit_seconds,
            apply_seconds=ruleset.apply_limit_seconds,
            integration_seconds=ruleset.integration_limit_seconds,
            check_tries=ruleset.check_tries,
            check_try_pause_seconds=ruleset.check_try_pause_seconds,
        ),
        checks=checks,
        protected=configuration.policy.protected,
    )


def _phase_strategy(spec: PhaseSpec, request: RunRequest, ruleset: RulesetSettings) -> PhaseStrategy:
    name = category_name(spec.task_category)
    row = category_row(name, ruleset)
    complexity = spec.complexity or row.complexity
    strict = complexity == "high" or request.safety_profile is SafetyProfile.SAFETY_CRITICAL
    return PhaseStrategy(
        phase_id=spec.phase_id,
        category=name,
        complexity=complexity,
        ci_profile="strict" if strict else row.ci_profile,
        builder_attempts=row.builder_attempts,
        auditor_attempts=row.auditor_attempts,
        incident_token_cap=row.incident_token_cap,
        minor_issues_limit=row.minor_issues_per_phase,
        audit_required=row.audit_required,
        auditor_profile=row.auditor_profile,
        severity=row.severity,
    )


def effective_checks(request: RunRequest, configuration: Configuration) -> Checks | None:
    """The repository's checks with the request's added, or in their place where the repository allows it.

    None: the run said `"checks": "none"` and the repository has no check of its own.
    """
    own = configuration.checks
    if request.checks == "none":
        return Checks(normal=own.normal, strict=own.strict) if own.normal or own.strict else None
    asked = request.checks or Checks()
    if own.allow_override and (asked.normal or asked.strict):
        return asked
    return Checks(normal=_joined(own.normal, asked.normal), strict=_joined(own.strict, asked.strict))


def _joined(own: tuple[Check, ...], asked: tuple[Check, ...]) -> tuple[Check, ...]:
    """The repository's check wins where both give one name: a request adds, it never weakens."""
    names = {check.name for check in own}
    return (*own, *(check for check in asked if check.name not in names))


def checks_of(checks: Checks, profile: str) -> tuple[Check, ...]:
    """The checks of a CI profile; strict runs both lists."""
    return (*checks.normal, *checks.strict) if profile == "strict" else checks.normal


def _demand_checks(checks: Checks, phases: tuple[PhaseStrategy, ...]) -> None:
    for phase in phases:
        if not checks_of(checks, phase.ci_profile):
            raise NoChecks(
                f"no check for CI profile {phase.ci_profile!r} (phase {phase.phase_id!r}): give the run checks, "
                'or the repository\'s autopack.toml at the base commit, or say "checks": "none"'
            )
