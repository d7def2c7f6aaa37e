"""Which kind of target a mirror's repository is."""

from services.git.local_target import LocalTarget
from services.git.mirror import Mirror
from services.git.remote_target import RemoteTarget
from services.git.source import LocalRepository


def target_of(mirror: Mirror) -> LocalTarget | RemoteTarget:
    """The repository that a mirror mirrors, as a target."""
    if isinstance(mirror.repository, LocalRepository):
        return LocalTarget(mirror, mirror.repository)
    return RemoteTarget(mirror, mirror.repository)
