"""The run files, with the artifact store as the place of their patches and logs."""

from events.log.port import EventLog
from projections.database import Pool
from projections.run_files.keeper import BlobLost, RunFiles
from services.artifacts import ArtifactCorrupt, ArtifactMissing, ArtifactStore
from services.settings import Settings


class _Blobs:
    """The store's blobs, with its words for a lost one turned into the run files' own."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    async def get(self, digest: str) -> bytes:
        """The blob. Raises BlobLost."""
        try:
            return await self._store.get(digest)
        except (ArtifactMissing, ArtifactCorrupt) as error:
            raise BlobLost(str(error)) from error


def run_files(settings: Settings, pool: Pool, log: EventLog, store: ArtifactStore) -> RunFiles:
    """The files of runs, where the settings have them."""
    return RunFiles(pool, log, _Blobs(store), settings.run_files_folder, settings.project)
