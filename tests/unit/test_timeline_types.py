"""The timeline names each event by the type that stands in the log, whichever version reads it."""

from pathlib import Path

import pytest

from events.catalogue import Topic
from events.log.port import StoredRecord
from projections.reading import parse, read_link
from projections.timeline import TIMELINE
from support.golden import FOLDER
from support.scenario import START


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_a_record_that_was_written_by_an_older_version_keeps_its_type(file: Path) -> None:
    """Else the tables would differ from a rebuild as soon as a type has a newer version."""
    headers = {"type": f"autopack.{file.stem}".encode()}
    record = StoredRecord(Topic.EVENTS, 0, 3, "sample-1", file.read_bytes(), headers, START)
    ((_, entry),) = parse([read_link(record)], [TIMELINE])
    (row,) = TIMELINE.project({}, entry)
    assert row.type == file.stem
