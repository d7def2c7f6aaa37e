"""Which waiting run begins next: first come, first served, within the limit on runs at once."""

from events.configuration import Configuration
from events.decide.endings import refuse_run
from events.families.run import PrepareRequested, RunAccepted, RunFailed
from events.playbook import compile_strategy
from events.state import Project, Run
from events.states import RunState

PREPARE_LIMIT_SECONDS = 600.0


def next_in_line(project: Project, runs_at_once: int | None) -> str | None:
    """The first waiting run that may begin, if there is a free place for it.

    A run that follows another waits for its end and lets those behind it pass, since it holds no place. One in
    quarantine never ends: whoever follows it need wait no longer.
    """
    if runs_at_once is not None and project.started_runs >= runs_at_once:
        return None
    return project.line.first


def first_event(project: Project, run_id: str) -> PrepareRequested | RunAccepted | RunFailed:
    """What a waiting run begins with; it fails at once where nobody knows what it would have to begin from."""
    run = project.runs[run_id]
    request = run.request
    if request.follows in project.lost:
        reason = f"run {request.follows!r}, which it follows, is in quarantine and will never end"
        return refuse_run(run, RunState.DONE_FAILED_ENVIRONMENT, reason, None)
    if request.repository is None:
        return _accept_to_track(run)
    base = request.base
    if base is None and request.follows is not None:
        base = project.ended[request.follows].head
    return PrepareRequested(repository=request.repository, base=base, limit_seconds=PREPARE_LIMIT_SECONDS)


def _accept_to_track(run: Run) -> RunAccepted:
    """A run without a repository has nothing to prepare and nothing that checks could run on."""
    unchecked = run.request.model_copy(update={"checks": "none"})
    strategy = compile_strategy(unchecked, Configuration())
    return RunAccepted(base_commit=None, integration_branch=None, strategy=strategy)
