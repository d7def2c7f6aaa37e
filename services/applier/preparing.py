"""Preparing a run: the base commit, and what the repository says at it."""

from events.configuration import Configuration, ConfigurationInvalid, parse_configuration
from events.families.failure import FailureClass
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from services.candidates import Candidates, failure_class
from services.clipping import clipped, json_bytes
from services.git.failures import GitFailure
from services.git.mirror import Mirror
from services.git.preparation import prepare
from services.git.reference_names import branch_reference, fence_reference, tags_reference
from services.git.standing import standing
from services.git.targets import target_of
from services.runner.worker import Assignment

PREPARE_BYTES = 6_000
CHECKS_BYTES = 24_000
CONFIGURATION_BYTES = 40_000


async def prepare_run(
    candidates: Candidates, assignment: Assignment, data: PrepareRequested
) -> RunPrepared | PrepareFailed:
    """Find the base, bring it into the mirror, read `autopack.toml` there."""
    try:
        mirror = await candidates.mirror(data.repository)
        prepared = await prepare(mirror, data.base)
        taken = await _taken(mirror, assignment.run_id)
        configuration = parse_configuration(prepared.configuration)
    except GitFailure as error:
        return _failed(assignment, failure_class(error), str(error))
    except ConfigurationInvalid as error:
        return _failed(assignment, FailureClass.CONFIGURATION, str(error))
    if taken is not None:
        return _failed(assignment, FailureClass.BRANCH_TAKEN, taken)
    fault = _too_large(configuration)
    if fault is not None:
        return _failed(assignment, FailureClass.CONFIGURATION, fault)
    return RunPrepared(
        request_id=assignment.request_id,
        base_commit=prepared.base_commit,
        default_branch=prepared.default_branch,
        configuration=configuration,
    )


async def _taken(mirror: Mirror, run_id: str) -> str | None:
    """What stands where the run's branch, tags and fence are to be: found now, before anything is spent."""
    branch, tags, fence = branch_reference(run_id), tags_reference(run_id), fence_reference(run_id)
    seen = await standing(target_of(mirror), branch, tags, fence)
    # A fence that stands by itself is what a run leaves behind, and is in nobody's way.
    taken = sorted((*seen.found.keys() - {fence}, *seen.in_the_way))
    if not taken:
        return None
    if taken[0].startswith((branch, tags)):
        return f"{taken[0]} is there already: take another run id, or remove what an earlier run left"
    return f"{taken[0]} leaves no room for {branch}, {tags} and {fence}: rename or remove it"


def _too_large(configuration: Configuration) -> str | None:
    """Events that are made of the configuration hold much else: it must leave them room."""
    for name, part, limit_bytes in (
        ("[prepare]", configuration.prepare, PREPARE_BYTES),
        ("[checks]", configuration.checks, CHECKS_BYTES),
        ("autopack.toml", configuration, CONFIGURATION_BYTES),
    ):
        if part is not None and json_bytes(part) > limit_bytes:
            return f"{name} takes {json_bytes(part)} bytes in events, where {limit_bytes} are allowed"
    return None


def _failed(assignment: Assignment, failure: FailureClass, reason: str) -> PrepareFailed:
    return PrepareFailed(request_id=assignment.request_id, failure=failure, reason=clipped(reason))
