"""`diff`: what a run or a phase changed, from git; of a phase that landed nothing, its last patch."""

from dataclasses import dataclass
from datetime import datetime

from projections.phases import PhaseRow
from services.artifacts import ArtifactCorrupt, ArtifactMissing, open_artifacts
from services.cli.absence import absence
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.run_view import RunView
from services.git.command import GitCommand
from services.git.failures import GitFailure
from services.git.inspection import diff
from services.git.mirror import Mirror, fetch_commit, open_mirror
from services.settings import Settings


@dataclass(frozen=True, slots=True)
class Change:
    """A diff, and what it is the difference of."""

    source: str
    text: str


async def change_of(settings: Settings, view: RunView, phase_id: str | None) -> Change:
    """The change of a run, or of one of its phases. Raises WrongUsage, and Unsuccessful where there is none."""
    run = view.run
    if run is None or run.repository is None:
        raise Unsuccessful("the run has no repository")
    phase = None if phase_id is None else phase_of(view, phase_id)
    if phase is not None and phase.commit is None:
        return await _last_patch(settings, phase, run.completed_at)
    base = run.base_commit if phase is None else f"{phase.commit}^"
    commit = run.head_commit if phase is None else phase.commit
    if base is None or commit is None:
        raise Unsuccessful(f"{run.run_id} has changed nothing")
    try:
        mirror = await open_mirror(GitCommand(), settings.home_folder / "mirrors", run.repository)
        await fetch_commit(mirror, commit)
        before = base[:12] if phase is None else f"{commit[:12]}^"
        return Change(f"{before}..{commit[:12]} in {run.repository}", await _diff(mirror, base, commit))
    except GitFailure as error:
        raise Unsuccessful(str(error)) from error


async def _diff(mirror: Mirror, base: str, commit: str) -> str:
    return (await diff(mirror, base, commit)).decode("utf-8", "replace")


def phase_of(view: RunView, phase_id: str) -> PhaseRow:
    """The phase of that id. Raises WrongUsage, naming those that there are."""
    for phase in view.phases:
        if phase.phase_id == phase_id:
            return phase
    raise WrongUsage(f"Phase {phase_id} not found; there are {', '.join(phase.phase_id for phase in view.phases)}")


async def _last_patch(settings: Settings, phase: PhaseRow, ended_at: datetime | None) -> Change:
    if not phase.patches:
        raise Unsuccessful(f"{phase.phase_id} has no patch")
    store = open_artifacts(settings.artifacts_url)
    try:
        patches = [await store.get(str(patch["digest"])) for patch in phase.patches]
    except ArtifactMissing as error:
        raise Unsuccessful(f"the last patch of {phase.phase_id}: {absence(settings, error, ended_at)}") from error
    except ArtifactCorrupt as error:
        raise Unsuccessful(f"the last patch of {phase.phase_id}: {error}") from error
    source = f"the last patch of {phase.phase_id}, which is {phase.state}"
    return Change(source, b"".join(patches).decode("utf-8", "replace"))
