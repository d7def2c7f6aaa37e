"""The first version's request for a run, read as laxly as it was, and written as one of today's."""

from collections.abc import Callable, Mapping
from typing import Any

from events.families.base import Value
from events.plan import EXTERNAL, AgentChoice, PhaseSpec, RunRequest, RunScope, SafetyProfile, TierSpec

RUN = "run"
COMPLEXITIES = ("low", "medium", "high")


def is_first_version(document: Mapping[str, Any]) -> bool:
    """Whether a document has the first version's form: the run's own fields under `run`."""
    return isinstance(document.get(RUN), Mapping)


def as_run_request(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same request in today's form, not validated yet.

    Unknown fields are passed over, there are no checks, and agents work elsewhere and report by themselves.
    """
    run = _known(document[RUN], RunRequest)
    tiers = _each(document.get("tiers"), lambda tier: _known(tier, TierSpec))
    return {
        **run,
        "safety_profile": _safety_profile(run.get("safety_profile")),
        "run_scope": _scope(run.get("run_scope"), tiers),
        "tier": None,
        "agents": AgentChoice(builder=EXTERNAL, auditor=EXTERNAL).model_dump(),
        "checks": "none",
        "tiers": tiers,
        "phases": _each(document.get("phases"), _phase),
    }


def _each(items: Any, read: Callable[[Any], Any]) -> Any:
    """What stands in a list; what is no list is left for the validation to name."""
    return [read(item) for item in items or ()] if isinstance(items or [], list) else items


def _known(fields: Any, model: type[Value]) -> Any:
    """The fields that the model has; what is no object is left for the validation to name."""
    if not isinstance(fields, Mapping):
        return fields
    return {name: value for name, value in fields.items() if name in model.model_fields}


def _phase(fields: Any) -> Any:
    phase = _known(fields, PhaseSpec)
    if isinstance(phase, dict) and phase.get("complexity") not in COMPLEXITIES:
        phase.pop("complexity", None)
    return phase


def _scope(written: object, tiers: Any) -> RunScope:
    """Clients wrote other words too; one tier was never demanded of a single-tier run."""
    single = written == RunScope.SINGLE_TIER and isinstance(tiers, list) and len(tiers) == 1
    return RunScope.SINGLE_TIER if single else RunScope.MULTI_TIER


def _safety_profile(written: object) -> SafetyProfile:
    return next((profile for profile in SafetyProfile if profile == written), SafetyProfile.NORMAL)
