"""Rows read back as the values that the folds make."""

from typing import Any

from projections.database import Connection
from projections.projection import Projection, RowT
from projections.tables import column_names, row_from


def selection(projection: Projection[Any]) -> str:
    """The start of a statement that reads whole rows, to be followed by its conditions."""
    return f"SELECT {', '.join(column_names(projection))} FROM {projection.table}"


async def rows(connection: Connection, projection: Projection[RowT], where: str, *values: Any) -> list[RowT]:
    """The rows that the conditions choose, in their order."""
    records = await connection.fetch(f"{selection(projection)} {where}", *values)
    return [row_from(projection, record) for record in records]
