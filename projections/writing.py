"""One statement for all that a batch changes: checkpoints, heads, rows of every table, and the news of it.

A transaction of many statements costs as many round trips, and the server as many starts of an execution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.log.port import Place
from projections.checkpoints import KEEP_HEADS, MOVE, KnownHead, Overtaken, RunKey, head_columns
from projections.database import CHANNEL, Connection
from projections.folding import Changes
from projections.projection import Projection
from projections.tables import Writing, rows_text, write_statement

_ALL_STAND = "(SELECT count(*) FROM standing) = cardinality($1::text[])"
_FIRST_ROWS = 14
"""The parameters before are those of checkpoints and heads."""


@dataclass(frozen=True, slots=True)
class Move:
    """Projections of a place, from where to where they move together.

    `generations` are those of their rows, by name, where anything is known of earlier rows.
    """

    place: Place
    projections: Sequence[Projection[Any]]
    start: int
    end: int
    generations: Mapping[str, int] = field(default_factory=dict)


async def write_move(
    connection: Connection, move: Move, changes: Sequence[Changes[Any]], heads: Mapping[RunKey, KnownHead]
) -> None:
    """Write all that changes by it, or nothing. Raises Overtaken where a checkpoint is not where it begins."""
    moved = await connection.fetch(
        _statement(tuple((change.projection.table, change.writing) for change in changes), changes),
        [projection.name for projection in move.projections],
        [projection.version for projection in move.projections],
        [move.generations.get(projection.name) for projection in move.projections],
        move.place.topic,
        move.place.partition,
        move.start,
        move.end,
        CHANNEL,
        *head_columns(heads),
        *(rows_text(change.projection, change.writing, change.rows) for change in changes),
    )
    if not moved:
        raise Overtaken(f"{[p.name for p in move.projections]} stand no longer at {move.start} of {move.place}")


_STATEMENTS: dict[tuple[tuple[str, Writing], ...], str] = {}


def _statement(tables: tuple[tuple[str, Writing], ...], changes: Sequence[Changes[Any]]) -> str:
    """The statement for these tables; there are as many as kinds of batches."""
    if tables not in _STATEMENTS:
        rows = [
            write_statement(c.projection, c.writing, number, _ALL_STAND)
            for number, c in enumerate(changes, start=_FIRST_ROWS)
        ]
        parts = [MOVE.format(condition=_ALL_STAND), KEEP_HEADS.format(condition=_ALL_STAND)]
        named = [*parts, *(f"rows_{number} AS (\n{text})" for number, text in enumerate(rows))]
        notified = "SELECT pg_notify($8, $4 || '/' || $5::text), set_config('synchronous_commit', 'off', true)"
        _STATEMENTS[tables] = f"WITH {', '.join(named)}\n{notified} WHERE {_ALL_STAND}"
    return _STATEMENTS[tables]


async def try_rows(connection: Connection, change: Changes[Any]) -> None:
    """Write the rows of one projection alone. Raises what the database has against them."""
    statement = write_statement(change.projection, change.writing, 1, "true")
    await connection.execute(statement, rows_text(change.projection, change.writing, change.rows))
