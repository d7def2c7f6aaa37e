"""Records of a run's history, as commands read them."""

from events.codec import HistoryEvent, UnreadableRecord, read_history
from services.cli.failures import Unsuccessful


def read_record(record: bytes) -> HistoryEvent:
    """The event of a record. Raises Unsuccessful where a newer version wrote it, or somebody else."""
    try:
        return read_history(record)
    except UnreadableRecord as error:
        raise Unsuccessful(f"a record of the history cannot be read: {error}") from error
