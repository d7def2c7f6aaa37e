"""`logs`: what agents and checks wrote, as it was kept in the artifact store."""

from collections.abc import AsyncIterator, Iterator

from events.catalogue import AnyEventData
from events.families.audit import AuditCompleted, AuditFailed
from events.families.base import ArtifactRef
from events.families.build import BuildFailed, BuildSucceeded
from events.families.verify import ChecksFailed, ChecksPassed
from services.artifacts import ArtifactCorrupt, ArtifactMissing, open_artifacts
from services.cli.absence import absence
from services.cli.client import Client
from services.cli.records import read_record
from services.cli.run_view import RunView
from services.settings import Settings

_OF_AGENTS = (BuildSucceeded, BuildFailed, AuditCompleted, AuditFailed)


async def kept_logs(
    settings: Settings, client: Client, view: RunView, phase_id: str | None
) -> AsyncIterator[dict[str, object]]:
    """Each log of a run in its order: phase, attempt, event, name of the check, text."""
    store = open_artifacts(settings.artifacts_url)
    if view.run is None:
        return
    async for record in client.records(view.run.run_id):
        data = read_record(record).event.data
        if phase_id is not None and getattr(data, "phase_id", None) != phase_id:
            continue
        for name, reference in _references(data):
            try:
                text = (await store.get(reference.digest)).decode("utf-8", "replace")
            except ArtifactMissing as error:
                text = f"({absence(settings, error, view.run.completed_at)})"
            except ArtifactCorrupt as error:
                text = f"({error})"
            yield {
                "phase_id": getattr(data, "phase_id", None),
                "attempt": getattr(data, "attempt", None),
                "event": type(data).__name__,
                "name": name,
                "text": text,
            }


def _references(data: AnyEventData) -> Iterator[tuple[str, ArtifactRef]]:
    if isinstance(data, _OF_AGENTS) and data.log is not None:
        yield "", data.log
    if isinstance(data, ChecksPassed | ChecksFailed):
        for check in data.checks:
            if check.log is not None:
                yield check.name, check.log
