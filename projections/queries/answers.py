"""What became of submitted records, and whether every reader can see it."""

from collections.abc import Collection, Iterable, Mapping

from events.catalogue import Topic
from projections.answers import ANSWERS, AnswerRow, command_key
from projections.catalogue import READERS
from projections.database import Connection
from projections.tables import column_names, row_from

TABLES = ("runs", "tiers", "phases", "attempts", "timeline", "metrics", "rejections")
"""What a reply from the tables alone promises; one that promises files adds `run_files`."""

Asked = tuple[str, str]
"""Whose answer is asked for: the `command_key` of a record, and the run."""
Checkpoint = tuple[str, Topic, int]
"""A projection, and the partition of a topic that it reads."""

_ANSWERS = """
SELECT DISTINCT ON (command, run_id) {columns}
FROM unnest($1::text[], $2::text[]) AS asked (command, run_id) JOIN {table} USING (command, run_id)
ORDER BY command, run_id, rejected, partition, log_offset
"""

_USES = "SELECT DISTINCT run_id FROM {table} WHERE command = $1 ORDER BY run_id"

_PASSED = """
SELECT projection, topic, partition, next_offset
FROM unnest($1::text[], $2::int[], $3::text[], $4::int[]) AS asked (projection, version, topic, partition)
JOIN projection_checkpoints USING (projection, version, topic, partition)
"""


async def find_answers(connection: Connection, asked: Collection[Asked]) -> Mapping[Asked, AnswerRow]:
    """The answers that stand already: the first one to each record, and an admission before a refusal."""
    statement = _ANSWERS.format(columns=", ".join(column_names(ANSWERS)), table=ANSWERS.table)
    found = await connection.fetch(statement, [command for command, _ in asked], [run for _, run in asked])
    rows = (row_from(ANSWERS, record) for record in found)
    return {(row.command, row.run_id): row for row in rows}


async def runs_under(connection: Connection, project: str, source: str, event_id: str) -> list[str]:
    """The runs for which an emitter has used an id: one, unless it uses it again for another run."""
    statement = _USES.format(table=ANSWERS.table)
    return [row["run_id"] for row in await connection.fetch(statement, command_key(project, source, event_id))]


def readers_of(answer: AnswerRow, projections: Iterable[str]) -> list[Checkpoint]:
    """Where these projections have to come, as far as they read the answer's topic, for it to be visible."""
    topic = Topic.REJECTIONS if answer.rejected else Topic.EVENTS
    return [(name, topic, answer.partition) for name in projections if topic in READERS[name].topics]


async def read_offsets(connection: Connection, checkpoints: Collection[Checkpoint]) -> Mapping[Checkpoint, int]:
    """The next offset of each reader; none of one that has not begun."""
    found = await connection.fetch(
        _PASSED,
        [name for name, _, _ in checkpoints],
        [READERS[name].version for name, _, _ in checkpoints],
        [topic for _, topic, _ in checkpoints],
        [partition for _, _, partition in checkpoints],
    )
    return {(row["projection"], Topic(row["topic"]), row["partition"]): row["next_offset"] for row in found}
