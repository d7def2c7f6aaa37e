"""Preparing a run: the base commit, and what the repository says at it."""

from events.configuration import ConfigurationInvalid, parse_configuration
from events.families.failure import FailureClass
from events.families.run import PrepareFailed, PrepareRequested, RunPrepared
from services.candidates import Candidates, failure_class
from services.clipping import clipped
from services.git.failures import GitFailure
from services.git.preparation import prepare
from services.runner.worker import Assignment


async def prepare_run(
    candidates: Candidates, assignment: Assignment, data: PrepareRequested
) -> RunPrepared | PrepareFailed:
    """Find the base, bring it into the mirror, read `autopack.toml` there."""
    try:
        prepared = await prepare(await candidates.mirror(data.repository), data.base)
        configuration = parse_configuration(prepared.configuration)
    except GitFailure as error:
        return _failed(assignment, failure_class(error), str(error))
    except ConfigurationInvalid as error:
        return _failed(assignment, FailureClass.CONFIGURATION, str(error))
    return RunPrepared(
        request_id=assignment.request_id,
        base_commit=prepared.base_commit,
        default_branch=prepared.default_branch,
        configuration=configuration,
    )


def _failed(assignment: Assignment, failure: FailureClass, reason: str) -> PrepareFailed:
    return PrepareFailed(request_id=assignment.request_id, failure=failure, reason=clipped(reason))
