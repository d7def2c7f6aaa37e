"""One projection over one batch: earlier rows and events in, changed rows out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from events.codec import UnreadableRecord
from events.log.port import StoredRecord
from events.log.telling import event_id
from projections.projection import Entry, Key, Projection, RowT
from projections.reading import Linked, Parsed, wants
from projections.tables import Writing


class ProjectionStopped(Exception):
    """A projection cannot go on behind an offset."""

    def __init__(self, projection: Projection[Any], offset: int, error: str) -> None:
        super().__init__(f"{projection.table} stops at offset {offset}: {error}")
        self.projection = projection
        self.offset = offset
        self.error = error


class RowsRefused(Exception):
    """The database refuses rows that a projection made of a batch."""

    def __init__(self, projection: Projection[Any], error: Exception) -> None:
        super().__init__(f"{projection.table}: {error}")
        self.projection = projection
        self.error = f"{type(error).__name__}: {error}"


@dataclass(frozen=True, slots=True)
class Changes(Generic[RowT]):
    """The rows of one projection that a batch changes in one way."""

    projection: Projection[RowT]
    rows: Sequence[RowT]
    writing: Writing


def unreadable(projection: Projection[Any], record: StoredRecord, error: UnreadableRecord) -> ProjectionStopped:
    """The projection stops at a record that this version cannot read."""
    told = f"event {event_id(record.value)}: unreadable: {error.message}"
    return ProjectionStopped(projection, record.offset, told)


def wanted_entries(projection: Projection[Any], parsed: Iterable[tuple[Linked, Parsed]]) -> list[Entry]:
    """The entries that a projection wants. Raises ProjectionStopped at one that could not be read."""
    entries = []
    for one, entry in parsed:
        if not wants(projection, one.type_name):
            continue
        if isinstance(entry, UnreadableRecord):
            raise unreadable(projection, one.record, entry)
        entries.append(entry)
    return entries


def fold(
    projection: Projection[RowT], groups: Mapping[Key, dict[Key, RowT]], entries: Iterable[Entry]
) -> list[Changes[RowT]]:
    """Fold entries, each upon the rows as the ones before left them. Raises ProjectionStopped.

    `groups` are the earlier rows that the entries need; they are changed.
    """
    memory = projection.memory
    changed: dict[Key, RowT] = {}
    before: dict[Key, RowT | None] = {}
    for entry in entries:
        key = memory.key(entry) if memory else None
        for row in _project(projection, groups[key] if key is not None else {}, entry):
            row_key = projection.key_of(row)
            changed[row_key] = row
            if memory is not None and (group := groups.get(memory.group_of(row))) is not None:
                before.setdefault(row_key, group.get(row_key))
                group[row_key] = row
    if not changed:
        return []
    if memory is None:
        return [Changes(projection, list(changed.values()), Writing.ONCE)]
    return _sorted_out(projection, changed, before)


def _sorted_out(
    projection: Projection[RowT], changed: Mapping[Key, RowT], before: Mapping[Key, RowT | None]
) -> list[Changes[RowT]]:
    """Rows of which a bulky column has changed, and the others. These alone, or both: so there are few kinds of
    statements, each of which a connection has to plan.
    """
    if not projection.bulky:
        return [Changes(projection, list(changed.values()), Writing.WHOLE)]
    bulky = projection.bulky_of
    whole: list[RowT] = []
    partly: list[RowT] = []
    for key, row in changed.items():
        earlier = before.get(key)
        (partly if earlier is not None and bulky(row) == bulky(earlier) else whole).append(row)
    written = [Changes(projection, whole, Writing.WHOLE)] if whole else []
    return [*written, Changes(projection, partly, Writing.PARTLY)]


def _project(projection: Projection[RowT], rows: dict[Key, RowT], entry: Entry) -> list[RowT]:
    try:
        return list(projection.project(rows, entry))
    except Exception as error:
        # Whatever it is, it would come again: the projection stands still and says so, the others go on.
        told = f"event {entry.event.id}: {type(error).__name__}: {error}"
        raise ProjectionStopped(projection, entry.offset, told) from error


def fold_refused(projection: Projection[RowT], records: Iterable[StoredRecord]) -> list[Changes[RowT]]:
    """Fold records of the rejections. Raises ProjectionStopped."""
    rows: dict[Key, RowT] = {}
    for record in records:
        for row in _refuse(projection, record):
            rows.setdefault(projection.key_of(row), row)
    return [Changes(projection, list(rows.values()), Writing.ONCE)] if rows else []


def _refuse(projection: Projection[RowT], record: StoredRecord) -> list[RowT]:
    try:
        return list(projection.refuse(record)) if projection.refuse else []
    except Exception as error:
        told = f"event {event_id(record.value)}: {type(error).__name__}: {error}"
        raise ProjectionStopped(projection, record.offset, told) from error
