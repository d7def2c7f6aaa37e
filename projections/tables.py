"""Rows into tables and back: few statements for many rows, made from the row's fields."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from operator import itemgetter
from typing import Any

import asyncpg
import orjson
from msgspec import Struct
from msgspec.structs import asdict, astuple

from projections.database import Connection
from projections.projection import Key, Projection, RowT


class Writing(Enum):
    """How rows are written: where none is there, over the one that is, or their lively columns alone."""

    ADDED = auto()
    REPLACED = auto()
    STIRRED = auto()


def write_statement(projection: Projection[Any], writing: Writing, parameter: int, condition: str) -> str:
    """Write rows given as the JSON array of `rows_text`, where a condition holds."""
    source = f"json_populate_recordset(NULL::{projection.table}, ${parameter}::text::json)"
    names = columns_written(projection, writing)
    others = [name for name in names if name not in projection.key]
    if writing is Writing.STIRRED:
        return (
            f"UPDATE {projection.table} AS kept SET {', '.join(f'{name} = news.{name}' for name in others)}\n"
            f"FROM {source} AS news\n"
            f"WHERE {' AND '.join(f'kept.{name} = news.{name}' for name in projection.key)} AND {condition}"
        )
    update = f"UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in others)}"
    return (
        f"INSERT INTO {projection.table} ({', '.join(names)})\n"
        f"SELECT {', '.join(names)} FROM {source}\n"
        f"WHERE {condition}\n"
        f"ON CONFLICT ({', '.join(projection.key)}) DO {update if writing is Writing.REPLACED else 'NOTHING'}"
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


@lru_cache(maxsize=64)
def settled_columns(projection: Projection[RowT]) -> Callable[[RowT], tuple[Any, ...]]:
    """What reads the columns of a row that are not lively."""
    return _reader(projection, [name for name in column_names(projection) if name not in projection.lively])


def _reader(projection: Projection[RowT], names: Sequence[str]) -> Callable[[RowT], tuple[Any, ...]]:
    """Two or more columns: taking all of a row and then those is faster than one by one."""
    pick = itemgetter(*map(column_names(projection).index, names))
    return lambda row: pick(astuple(row))


async def recall(connection: Connection, projection: Projection[RowT], keys: Iterable[Key]) -> list[RowT]:
    """The rows that the memory's columns name."""
    arrays = list(map(list, zip(*keys, strict=True)))
    records = await connection.fetch(recall_statement(projection), *arrays) if arrays else []
    return [row_from(projection, record) for record in records]


def row_from(projection: Projection[RowT], record: asyncpg.Record | Mapping[str, Any]) -> RowT:
    """A row of the table as a value."""
    return projection.row(**dict(record.items()))


@lru_cache(maxsize=64)
def columns_written(projection: Projection[Any], writing: Writing) -> tuple[str, ...]:
    """The columns that are written: all of them, or the key and the lively ones."""
    if writing is not Writing.STIRRED:
        return column_names(projection)
    return tuple(n for n in column_names(projection) if n in projection.key or n in projection.lively)


def rows_text(projection: Projection[RowT], writing: Writing, rows: Iterable[RowT]) -> str:
    """Rows as the JSON array that `write_statement` takes."""
    written: list[Any] = list(rows)
    if writing is Writing.STIRRED:
        names = columns_written(projection, writing)
        read = _reader(projection, names)
        written = [dict(zip(names, read(row), strict=True)) for row in written]
    return orjson.dumps(written, default=_plain).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} has no place in a row")
