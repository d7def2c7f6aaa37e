"""Rows read back as the values that the folds make."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from projections.database import Connection
from projections.projection import Projection, RowT
from projections.tables import column_names, row_from

ROWS_AT_A_STRETCH = 400
"""Some two milliseconds; others on the loop come to their turn between."""

Row = TypeVar("Row")


def selection(projection: Projection[Any]) -> str:
    """The start of a statement that reads whole rows, to be followed by its conditions."""
    return f"SELECT {', '.join(column_names(projection))} FROM {projection.table}"


async def rows(connection: Connection, projection: Projection[RowT], where: str, *values: Any) -> list[RowT]:
    """The rows that the conditions choose, in their order."""
    records = await connection.fetch(f"{selection(projection)} {where}", *values)
    return [row_from(projection, record) for record in records]


def as_json(statement: str) -> str:
    """An SQL expression: the rows of a statement, in its order, each as JSON.

    So one statement, which sees one moment, reads several tables, and no row is taken apart twice, by the driver
    and for the values within it.
    """
    return f"ARRAY(SELECT row_to_json(one)::text FROM ({statement}) AS one)"


async def rows_of(read: Callable[[str], Row], texts: Sequence[str]) -> list[Row]:
    """The rows that the texts hold; others on the loop come to their turn, however many there are."""
    found: list[Row] = []
    for start in range(0, len(texts), ROWS_AT_A_STRETCH):
        if start:
            await asyncio.sleep(0)
        found.extend(map(read, texts[start : start + ROWS_AT_A_STRETCH]))
    return found


@dataclass(slots=True)
class Conditions:
    """The conditions of one statement, and its values in their order.

    Only what is asked for stands in the statement. One that says `$1 IS NULL OR …` for all that might be asked has
    a plan for none of it, and reads past rows that an index would have left out.
    """

    texts: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, text: str, *values: Any) -> None:
        """Add a condition in which each `{}` stands for a value."""
        self.texts.append(text.format(*(self.value(value) for value in values)))

    def value(self, value: Any) -> str:
        """Add a value; what stands for it in the statement."""
        self.values.append(value)
        return f"${len(self.values)}"

    @property
    def where(self) -> str:
        """All conditions as a clause."""
        return f"WHERE {' AND '.join(self.texts)}" if self.texts else ""
