"""The golden records: one of the history for each event type and version, kept for ever.

`PYTHONPATH=tests python -m support.golden` writes those that are missing. It never edits one that is there:
what a release has written must be read for ever.
"""

from pathlib import Path

from events.catalogue import EVENT_TYPES
from events.envelope import write_history
from events.families.base import EventData
from support.samples import sample_event

FOLDER = Path(__file__).parent.parent / "golden"
PREVHASH = "fedcba9876543210" * 4


def path_of(event_type: type[EventData]) -> Path:
    return FOLDER / f"{event_type.__name__}.v{event_type.version}.json"


def record_of(event_type: type[EventData]) -> bytes:
    """The record as this code writes it."""
    return write_history(sample_event(event_type), "sample-1", 7, PREVHASH)


def write_missing() -> list[Path]:
    missing = [t for t in EVENT_TYPES if not path_of(t).exists()]
    for event_type in missing:
        path_of(event_type).write_bytes(record_of(event_type))
    return [path_of(t) for t in missing]


if __name__ == "__main__":
    for path in write_missing():
        print(path)
