"""Why an artifact of a run is not there: collected, or in another store."""

from datetime import datetime
from time import time

from services.artifacts import DAY_SECONDS, ArtifactMissing
from services.settings import Settings


def absence(settings: Settings, error: ArtifactMissing, ended_at: datetime | None) -> str:
    """A sentence on an artifact that is missing, of a run that ended then, or goes on."""
    if ended_at is not None and time() - ended_at.timestamp() >= settings.artifact_days * DAY_SECONDS:
        return (
            f"not kept any more: the run ended on {ended_at:%Y-%m-%d}, and patches and logs are kept for "
            f"{settings.artifact_days:g} days after that (AUTOPACK_ARTIFACT_DAYS)"
        )
    return f"{error}; AUTOPACK_ARTIFACTS and AUTOPACK_ARTIFACT_DAYS must be those of the service"
