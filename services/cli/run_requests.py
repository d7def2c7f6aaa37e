"""From a plan file and options to the request for a run."""

import shlex
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from events.configuration import Check, Checks
from events.decide.room import plan_too_large
from events.plan import Fault, RunRequest, RunScope, plan_faults
from services.cli.failures import PlanInvalid, WrongUsage
from services.cli.plan_files import PlanFile
from services.fault_places import located_faults, location_of
from services.first_version import as_run_request, is_first_version

CHECK_NAME_LENGTH = 60
TO_BE_GIVEN = "(to be given)"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says of a run; None leaves what the plan says."""

    repository: str | None = None
    base: str | None = None
    run_id: str | None = None
    project: str | None = None
    run_scope: str | None = None
    tier: str | None = None
    safety_profile: str | None = None
    builder: str | None = None
    auditor: str | None = None
    checks: tuple[str, ...] = ()
    token_cap: int | None = None
    max_cost_usd: float | None = None
    max_duration_minutes: float | None = None


def run_request(plan: PlanFile, overrides: Overrides, *, repository_needed: bool) -> RunRequest:
    """The request that a plan and options make; raises PlanInvalid with every fault of it.

    Without `repository_needed` somebody else fills in a repository where none is named.
    """
    document = _overridden(plan, overrides)
    try:
        request = RunRequest.model_validate(document)
    except ValidationError as error:
        faults = _typing_faults(plan, error, document)
        judged = _without_unknown_keys(document, error)
        if judged is not None:
            faults += _faults_of(plan, judged, repository_needed=repository_needed)
        raise PlanInvalid(plan.name, faults) from error
    faults = _faults_of(plan, request, repository_needed=repository_needed)
    if faults:
        raise PlanInvalid(plan.name, faults)
    return request


def _faults_of(plan: PlanFile, request: RunRequest, *, repository_needed: bool) -> tuple[Fault, ...]:
    if request.repository is None and not repository_needed:
        request = request.model_copy(update={"repository": TO_BE_GIVEN})
    return tuple(placed(plan, fault) for fault in plan_faults(request) or plan_too_large(request))


def _without_unknown_keys(document: dict[str, Any], error: ValidationError) -> RunRequest | None:
    """The request where nothing but unknown keys is wrong with it, to judge the rest as well; else None."""
    faults = list(located_faults(error, document))
    if any(fault["type"] != "extra_forbidden" for _, fault in faults):
        return None
    stripped = deepcopy(document)
    for (*above, key), _ in faults:
        parent: Any = stripped
        for part in above:
            parent = parent[part]
        parent.pop(key, None)
    try:
        return RunRequest.model_validate(stripped)
    except ValidationError:
        return None


def _overridden(plan: PlanFile, overrides: Overrides) -> dict[str, Any]:
    document = as_run_request(plan.document) if is_first_version(plan.document) else dict(plan.document)
    given = {
        "repository": overrides.repository,
        "base": overrides.base,
        "run_id": overrides.run_id,
        "project": overrides.project,
        "run_scope": overrides.run_scope or (RunScope.SINGLE_TIER if overrides.tier else None),
        "tier": overrides.tier,
        "safety_profile": overrides.safety_profile,
        "token_cap": overrides.token_cap,
        "max_cost_usd": overrides.max_cost_usd,
        "max_duration_minutes": overrides.max_duration_minutes,
    }
    document |= {name: value for name, value in given.items() if value is not None}
    agents = {"builder": overrides.builder, "auditor": overrides.auditor}
    chosen = {role: name for role, name in agents.items() if name is not None}
    written = document.get("agents")
    # What is no object stays as it is written: its fault is told with its place.
    if chosen and (written is None or isinstance(written, dict)):
        document["agents"] = {**(written or {}), **chosen}
    if overrides.checks:
        document["checks"] = _with_checks(document.get("checks"), overrides.checks)
    return document


def _with_checks(written: object, commands: Iterable[str]) -> object:
    """The plan's checks with those of the command line; naming one takes a plan's "none" back.

    Others that are not of their type stay as they are written: their faults are told with their places.
    """
    given = [_check(command) for command in commands]
    if written in (None, "none"):
        return {"normal": given}
    if not isinstance(written, dict):
        return written
    normal = written.get("normal")
    return {**written, "normal": [*(normal or ()), *given]} if isinstance(normal, list | None) else written


def _check(command: str) -> dict[str, Any]:
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise WrongUsage(f"--check {command!r}: {error}") from error
    if not argv:
        raise WrongUsage("--check needs a command")
    name = " ".join(argv)[:CHECK_NAME_LENGTH]
    return Checks(normal=(Check(name=name, argv=tuple(argv)),)).model_dump(mode="json")["normal"][0]  # type: ignore[no-any-return]  # one of a list of objects


def _typing_faults(plan: PlanFile, error: ValidationError, document: object) -> tuple[Fault, ...]:
    """One fault a place."""
    faults: dict[str, Fault] = {}
    for location, found in located_faults(error, document):
        message = "unknown key" if found["type"] == "extra_forbidden" else found["msg"]
        place = plan.place(location)
        faults.setdefault(place, Fault(place=place, message=message))
    return tuple(faults.values())


def placed(plan: PlanFile, fault: Fault) -> Fault:
    """The fault at its place in the file."""
    return Fault(place=plan.place(location_of(fault.place)), message=fault.message)
