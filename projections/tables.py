"""Rows into tables and back: few statements for many rows, made from the row's fields."""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from functools import lru_cache
from typing import Any

import asyncpg
import orjson
from msgspec import Struct
from msgspec.structs import asdict, replace

from projections.database import Connection
from projections.projection import Key, Projection, RowT


class Writing(Enum):
    """How rows are written: the first of a key alone, each over the one before, or over all but its bulky columns.

    The last is for rows that are known to be there.
    """

    ONCE = auto()
    WHOLE = auto()
    PARTLY = auto()


def write_statement(projection: Projection[Any], writing: Writing, parameter: int, condition: str) -> str:
    """Write rows given as the JSON array of `rows_text`, where a condition holds."""
    names = column_names(projection)
    kept = {*projection.key, *(projection.bulky if writing is Writing.PARTLY else ())}
    update = f"UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in names if name not in kept)}"
    source = f"json_populate_recordset(NULL::{projection.table}, ${parameter}::text::json)"
    return (
        f"INSERT INTO {projection.table} ({', '.join(names)})\n"
        f"SELECT {', '.join(names)} FROM {source}\n"
        f"WHERE {condition}\n"
        # Never an UPDATE: a planner who expects a hundred rows reads all of a table that has some thousand.
        f"ON CONFLICT ({', '.join(projection.key)}) DO {'NOTHING' if writing is Writing.ONCE else update}"
    )


def recall_statement(projection: Projection[Any]) -> str:
    """Read the rows that a fold must be given, by arrays of the memory's columns, which are all text."""
    memory = projection.memory
    if memory is None:
        raise ValueError(f"{projection.name} remembers nothing")
    arrays = ", ".join(f"${number}::text[]" for number in range(1, len(memory.columns) + 1))
    return (
        f"SELECT {', '.join(column_names(projection))} FROM {projection.table}\n"
        f"WHERE ({', '.join(memory.columns)}) IN (SELECT * FROM unnest({arrays})) AND {memory.condition or 'true'}"
    )


@lru_cache(maxsize=64)
def column_names(projection: Projection[Any]) -> tuple[str, ...]:
    """The table's columns: the row's fields, by the same names."""
    return tuple(projection.row.__struct_fields__)


async def recall(connection: Connection, projection: Projection[RowT], keys: Iterable[Key]) -> list[RowT]:
    """The rows that the memory's columns name."""
    arrays = list(map(list, zip(*keys, strict=True)))
    records = await connection.fetch(recall_statement(projection), *arrays) if arrays else []
    return [row_from(projection, record) for record in records]


def row_from(projection: Projection[RowT], record: asyncpg.Record | Mapping[str, Any]) -> RowT:
    """A row of the table as a value."""
    return projection.row(**dict(record.items()))


def rows_text(projection: Projection[RowT], writing: Writing, rows: Iterable[RowT]) -> str:
    """Rows as the JSON array that `write_statement` takes."""
    if writing is Writing.PARTLY:
        rows = [replace(row, **projection.bulky) for row in rows]
    return orjson.dumps(list(rows), default=_plain).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} has no place in a row")
