"""The end of a run, in a few lines."""

from collections.abc import Iterator

from events.states import PhaseState
from services.cli.drawing import counted
from services.cli.run_view import RunView


def outcome(view: RunView, run_files: str | None) -> Iterator[str]:
    """What became of a run, where its result is, and how to look further."""
    run = view.run
    if run is None:
        return
    complete = sum(phase.state == PhaseState.COMPLETE for phase in view.phases)
    attempts = sum(view.attempts_at(phase) for phase in view.phases)
    tokens = counted(run.tokens_used, run.tokens_lower_bound)
    yield (
        f"{run.state} in {run.duration_seconds or 0.0:.1f} s: {complete} of {len(view.phases)} phases, "
        f"{attempts} attempts, {tokens} tokens, {run.ci_runs_used} CI runs"
    )
    if run.failure_reason:
        yield f"  reason     {run.failure_reason}"
    if complete:
        yield f"  branch     {run.integration_branch} at {(run.head_commit or '')[:12]} in {run.repository}"
        yield f"  tags       {complete}, {run.integration_branch}/tier-*/phase-*"
    if run_files:
        yield f"  run files  {run_files}"
    if run.failure_reason:
        yield f"  look at    autopack report {run.run_id}; autopack logs {run.run_id}"
