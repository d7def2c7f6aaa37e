"""Rows read back as the values that the folds make."""

from dataclasses import dataclass, field
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
