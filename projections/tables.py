"""Rows into tables and back: few statements for many rows, made from the row's fields."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import asyncpg
import orjson
from msgspec import Struct
from msgspec.structs import asdict

from projections.database import Connection
from projections.projection import Key, Projection, RowT


def write_statement(projection: Projection[Any], parameter: int, *, replacing: bool, condition: str) -> str:
    """Write rows given as one JSON array, where a condition holds; a row whose key is there is replaced, or
    else stays as it was.
    """
    names = column_names(projection)
    changing = [name for name in names if name not in projection.key]
    update = f"UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in changing)}"
    source = f"json_populate_recordset(NULL::{projection.table}, ${parameter}::text::json)"
    return (
        f"INSERT INTO {projection.table} ({', '.join(names)})\n"
        f"SELECT {', '.join(names)} FROM {source}\n"
        f"WHERE {condition}\n"
        f"ON CONFLICT ({', '.join(projection.key)}) DO {update if replacing else 'NOTHING'}"
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


def rows_text(rows: Iterable[RowT]) -> str:
    """Rows as the JSON array that `write_statement` takes."""
    return orjson.dumps(list(rows), default=_plain).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} has no place in a row")
