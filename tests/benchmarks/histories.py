"""A history that was there before: finished runs, written straight into the log."""

import itertools
from collections.abc import Iterator, Sequence

from events.log.partitions import home_partition
from events.log.port import EventLog, NewRecord, Step
from support.histories import recorded, success
from support.scenario import Scenario

RECORDS_A_STEP = 500


def projects_over(partitions: int) -> tuple[str, ...]:
    """One project at home in each partition."""
    found: dict[int, str] = {}
    for number in itertools.count():
        name = f"project-{number}"
        found.setdefault(home_partition(name, partitions), name)
        if len(found) == partitions:
            return tuple(found[partition] for partition in sorted(found))
    raise AssertionError


async def fill(log: EventLog, events: int) -> None:
    """So many events of finished runs, dealt out to the partitions."""
    for partition, project in enumerate(projects_over(log.partition_count)):
        await write(log, partition, _finished(project, events // log.partition_count))


async def write(log: EventLog, partition: int, records: Iterator[NewRecord]) -> None:
    """Append records to the history of a partition, many at a time."""
    writer = await log.take_over(partition, "benchmarks")
    while step := list(itertools.islice(records, RECORDS_A_STEP)):
        await writer.append(Step(events=step))
    await writer.close()


def _finished(project: str, events: int) -> Iterator[NewRecord]:
    """As many whole runs as make no more events than that."""
    story = success()
    for number in range(events // len(story.history)):
        yield from records_of(story, f"old-{number}", project)


UNANSWERED = 9
"""So many events has a run whose first build has been claimed, and not answered yet."""


def active(project: str, runs: int) -> Iterator[NewRecord]:
    """Runs in the midst of their first phase."""
    story = success()
    for number in range(runs):
        yield from records_of(story, f"active-{number}", project)[:UNANSWERED]


def records_of(scenario: Scenario, run_id: str, project: str) -> Sequence[NewRecord]:
    """The records of a run."""
    return [
        NewRecord(one.project, one.value, {"type": one.type_name.encode(), "run": one.run_id.encode()})
        for one in recorded(scenario, run_id, project)
    ]
