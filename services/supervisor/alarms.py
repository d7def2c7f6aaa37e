"""What somebody must look at in one partition: most of it follows from the state, and so outlives a restart."""

from collections.abc import Iterable, Mapping

from events.history import PartitionState
from services.status import ServiceStatus

QUARANTINE = "quarantine"
ADRIFT = "branch"


class PartitionAlarms:
    """The alarms of one partition in the status of its service, for as long as the partition is served here."""

    def __init__(self, status: ServiceStatus, partition: int) -> None:
        self._status = status
        self._partition = partition
        self._standing: dict[str, frozenset[str]] = {}

    def load(self, state: PartitionState) -> None:
        """Raise what follows from a state, and lower what does not."""
        told = {
            f"{QUARANTINE}-{project}-{run_id}": f"run {run_id!r} of {project!r} is in quarantine: {reason}"
            for (project, run_id), reason in state.quarantined.items()
        }
        self._stand(QUARANTINE, told)
        self.update(state, state.projects)

    def update(self, state: PartitionState, projects: Iterable[str]) -> None:
        """The same, after a step that touched these projects."""
        for project_id in projects:
            told = {
                f"{ADRIFT}-{project_id}-{run_id}": f"run {run_id!r} of {project_id!r} has ended, and where its "
                f"integration branch stands is not known: look at it, then retry the run"
                for run_id in state.project(project_id).adrift
            }
            self._stand(f"{ADRIFT} {project_id}", told)

    def stand_still(self, message: str) -> None:
        """The history cannot be read on."""
        self._stand("history", {f"history-{self._partition}": message})

    def missing(self, topic: str, message: str) -> None:
        """Submitted records are gone that nobody has read."""
        self._stand(topic, {f"missing-{topic}-{self._partition}": message})

    def withdraw(self) -> None:
        """The partition is somebody else's, who raises them now."""
        for group in list(self._standing):
            self._stand(group, {})

    def _stand(self, group: str, told: Mapping[str, str]) -> None:
        """Exactly these stand of a group."""
        for key in self._standing.get(group, frozenset()) - told.keys():
            self._status.clear(key)
        for key, message in told.items():
            self._status.alarm(key, message)
        self._standing[group] = frozenset(told)
