"""What a projection is: a table, the events it wants, and a pure fold from events to rows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

from msgspec import Struct

from events.catalogue import EVENT_TYPES, AnyEventData, Topic
from events.event import Event
from events.families.base import EventData
from events.log.port import StoredRecord

RowT = TypeVar("RowT", bound=Struct)

Key = tuple[Any, ...]
"""The values of a table's key columns, in the order of `Projection.key`."""

EVERY_TYPE: frozenset[type[EventData]] = frozenset(EVENT_TYPES)


class Entry(Struct, frozen=True):
    """An event of the history, and where it stands: in the log, and in its run.

    `stored_type` is the type that its record has: the event itself may have been read as a newer version.
    """

    project: str
    partition: int
    offset: int
    sequence: int
    event: Event
    stored_type: str | None = None

    @property
    def run_id(self) -> str:
        """The run that it belongs to."""
        return self.event.run_id

    @property
    def data(self) -> AnyEventData:
        """What happened."""
        return self.event.data

    @property
    def type_name(self) -> str:
        """Its type, as it was written."""
        return self.stored_type or self.event.data.type_name()

    @property
    def at(self) -> datetime:
        """When the log took it, by the log's clock."""
        return self.event.recorded_at


def by_run(entry: Entry) -> Key | None:
    """The rows of the event's run."""
    return entry.project, entry.run_id


def run_begun(entry: Entry) -> Key | None:
    """The run that begins with this event: it has no earlier rows."""
    return by_run(entry) if entry.sequence == 0 else None


@dataclass(frozen=True, slots=True)
class Memory:
    """Which earlier rows a fold must be given: those whose `columns` hold what `key` says of an event.

    None means that the event needs none. `begun` names the rows of which there were none before the event.
    `condition` is SQL that narrows the rows down.
    """

    columns: tuple[str, ...] = ("project", "run_id")
    key: Callable[[Entry], Key | None] = by_run
    begun: Callable[[Entry], Key | None] = run_begun
    condition: str | None = None

    def group_of(self, row: Struct) -> Key:
        """With which other rows a row is remembered."""
        return _values(self.columns)(row)


@lru_cache(maxsize=256)
def _values(columns: tuple[str, ...]) -> Callable[[Struct], Key]:
    """What reads these columns of a row, at the speed of C."""
    if len(columns) == 1:
        (only,) = columns
        return lambda row: (getattr(row, only),)
    return attrgetter(*columns)


def _no_rows(rows: Mapping[Key, Any], entry: Entry) -> Iterable[Any]:
    return ()


@dataclass(frozen=True, slots=True)
class Projection(Generic[RowT]):
    """One read model. `<name>.sql` beside the module defines its table, `<name>_v<version>`.

    `project` gives the rows that change by an event, from the earlier rows that `memory` names; without
    memory a row is a fact that never changes, and its first writing stays. `refuse` does the same for records
    of the rejections. Both are pure: rows derive from the records alone, so a rebuild gives the same rows.

    `bulky` are columns that may be large and that most events leave alone, each with a value that stands for it
    on the way: a row that is there, and has not changed in them, is written without them.
    """

    name: str
    version: int
    row: type[RowT]
    key: tuple[str, ...]
    wanted: frozenset[type[EventData]] = frozenset()
    project: Callable[[Mapping[Key, RowT], Entry], Iterable[RowT]] = _no_rows
    refuse: Callable[[StoredRecord], Iterable[RowT]] | None = None
    memory: Memory | None = Memory()
    bulky: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def table(self) -> str:
        """The table's name; a new version of the fold has a new table."""
        return f"{self.name}_v{self.version}"

    @property
    def topics(self) -> frozenset[Topic]:
        """The topics that it reads."""
        history = {Topic.EVENTS} if self.wanted else set()
        return frozenset(history | ({Topic.REJECTIONS} if self.refuse else set()))

    def bulky_of(self, row: RowT) -> Key:
        """What the row holds in its bulky columns."""
        return _values(tuple(self.bulky))(row)

    def key_of(self, row: RowT) -> Key:
        """The row's key."""
        return _values(self.key)(row)
