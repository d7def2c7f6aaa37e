"""Preparing a run: the base commit, and what the repository says at it."""

from events.configuration import Configuration, ConfigurationInvalid, parse_configuration
from events.families.failure import FailureClass
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from services.candidates import Candidates, failure_class
from services.clipping import clipped, json_bytes
from services.git.failures import GitFailure
from services.git.preparation import prepare
from services.git.reference_names import branch_reference
from services.git.targets import target_of
from services.runner.worker import Assignment

PREPARE_BYTES = 6_000
CHECKS_BYTES = 24_000
CONFIGURATION_BYTES = 40_000


async def prepare_run(
    candidates: Candidates, assignment: Assignment, data: PrepareRequested
) -> RunPrepared | PrepareFailed:
    """Find the base, bring it into the mirror, read `autopack.toml` there."""
    branch = branch_reference(assignment.run_id)
    try:
        mirror = await candidates.mirror(data.repository)
        prepared = await prepare(mirror, data.base)
        taken = (await target_of(mirror).references(branch)).get(branch)
        configuration = parse_configuration(prepared.configuration)
    except GitFailure as error:
        return _failed(assignment, failure_class(error), str(error))
    except ConfigurationInvalid as error:
        return _failed(assignment, FailureClass.CONFIGURATION, str(error))
    if taken is not None:
        reason = f"{branch} is there already, at {taken}: take another run id, or remove what an earlier run left"
        return _failed(assignment, FailureClass.BRANCH_TAKEN, reason)
    fault = _too_large(configuration)
    if fault is not None:
        return _failed(assignment, FailureClass.CONFIGURATION, fault)
    return RunPrepared(
        request_id=assignment.request_id,
        base_commit=prepared.base_commit,
        default_branch=prepared.default_branch,
        configuration=configuration,
    )


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
