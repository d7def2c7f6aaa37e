"""`retry`: the request for a new run that takes up where an ended one left off."""

from events.families.run import RunRequested
from events.plan import PhaseSpec, RunRequest, RunScope, dependencies
from events.states import PhaseState, RunState
from services.cli.client import Client
from services.cli.failures import WrongUsage
from services.cli.records import read_record
from services.cli.running import read_view


async def remaining_request(client: Client, run_id: str, new_run_id: str | None) -> RunRequest:
    """The phases that a run did not complete, on its last snapshot.

    Raises WrongUsage where the run goes on, or has nothing left to do.
    """
    view = await read_view(client, run_id)
    if view.run is None:
        raise WrongUsage(f"Run {run_id} not found")
    if not RunState(view.run.state).is_terminal:
        raise WrongUsage(f"{run_id} has not ended: it is {view.run.state}")
    complete = {phase.phase_id for phase in view.phases if phase.state == PhaseState.COMPLETE}
    request = await _request(client, run_id)
    phases = tuple(_freed(phase, complete, request) for phase in request.phases if phase.phase_id not in complete)
    if not phases:
        raise WrongUsage(f"{run_id} has completed every phase")
    tier_ids = {phase.tier_id for phase in phases}
    return request.model_copy(
        update={
            "run_id": new_run_id,
            "base": view.run.head_commit or request.base,
            "tiers": tuple(tier for tier in request.tiers if tier.tier_id in tier_ids),
            "phases": phases,
            "tier": request.tier if request.run_scope is RunScope.SINGLE_TIER else None,
            "retry_of": run_id,
        }
    )


async def _request(client: Client, run_id: str) -> RunRequest:
    async for line in client.records(run_id):
        event = read_record(line)
        if isinstance(event.event.data, RunRequested):
            return RunRequest.model_validate(event.event.data.model_dump() | {"project": event.project})
    raise WrongUsage(f"Run {run_id} not found")


def _freed(phase: PhaseSpec, complete: set[str], request: RunRequest) -> PhaseSpec:
    """A phase that waits only for what is not done yet."""
    needed = dependencies(request).get(phase.phase_id, ())
    return phase.model_copy(update={"depends_on": tuple(other for other in needed if other not in complete)})
