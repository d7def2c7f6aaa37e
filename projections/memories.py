"""What a lane still knows of earlier rows and heads, so that they need not be read back for every batch.

It holds as long as nobody else writes: the lane moves its checkpoints from where it believes them to be, or not
at all, and forgets everything whenever that fails.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from projections.checkpoints import KnownHead, Reader, RunKey, known_heads
from projections.database import Connection
from projections.projection import Entry, Key, Projection, RowT
from projections.tables import recall

MOST_ROWS = 1_000
"""Of one projection; about 1 kB each. What is let go of is read back when it is needed again."""

MOST_HEADS = 5_000

LOOK_EVERY = 64
"""Rows are counted after so many batches: to count them all takes time."""

Groups = dict[Key, dict[Key, RowT]]
"""Rows by their own keys, in groups by the columns of the projection's memory. Each group is whole."""


class Memories:
    """The rows that folds have read or made, and the heads of runs, as of the lane's offset."""

    def __init__(self, most_rows: int = MOST_ROWS, look_every: int = LOOK_EVERY) -> None:
        self._most_rows = most_rows
        self._look_every = look_every
        self._batches = 0
        self._groups: dict[str, Groups[Any]] = {}
        self._heads: dict[RunKey, KnownHead] = {}

    def forget(self) -> None:
        """Know nothing any more: what was folded has not been written, or others have."""
        self._groups.clear()
        self._heads.clear()

    async def groups(
        self, connection: Connection, projection: Projection[RowT], entries: Sequence[Entry]
    ) -> Groups[RowT]:
        """The groups that these entries need, and others. The fold changes them."""
        memory = projection.memory
        if memory is None:
            return {}
        # Rows narrowed down by a condition are few, and one that no longer meets it would stay.
        known: Groups[RowT] = self._groups.setdefault(projection.table, {}) if memory.condition is None else {}
        begun = _keys(memory.begun(entry) for entry in entries)
        missing = _unknown(_keys(memory.key(entry) for entry in entries) - begun, known)
        known.update((key, {}) for key in begun | missing)
        for row in await recall(connection, projection, missing):
            known[memory.group_of(row)][projection.key_of(row)] = row
        return known

    async def heads(
        self, connection: Connection, reader: Reader, runs: Iterable[RunKey]
    ) -> dict[RunKey, KnownHead]:
        """The heads of these runs, and of others, as of the reader's checkpoint."""
        if missing := _unknown(runs, self._heads):
            self._heads.update(await known_heads(connection, reader, missing))
        return self._heads

    def written(self, heads: Mapping[RunKey, KnownHead]) -> None:
        """What was folded has been written; these are the heads that changed. The oldest are let go of."""
        self._heads.update(heads)
        while len(self._heads) > MOST_HEADS:
            del self._heads[next(iter(self._heads))]
        self._batches += 1
        if self._batches % self._look_every == 0:
            for groups in self._groups.values():
                _trim(groups, self._most_rows)


def _keys(keys: Iterable[Key | None]) -> set[Key]:
    return {key for key in keys if key is not None}


def _unknown(wanted: Iterable[Any], known: Mapping[Any, Any]) -> set[Any]:
    """Those that are not known. `set(wanted) - known.keys()` would walk through all that is known, every time."""
    return {one for one in wanted if one not in known}


def _trim(groups: Groups[Any], most_rows: int) -> None:
    """Let go of the groups that have been known for longest, until half as many rows are left."""
    rows = sum(map(len, groups.values()))
    if rows <= most_rows:
        return
    for key in list(groups)[:-1]:
        rows -= len(groups.pop(key))
        if rows <= most_rows // 2:
            return
