"""Steps that are known from their number alone, so that anybody can say what a log must hold."""

from contract.ground import history, read_all, record

from events.catalogue import Topic
from events.log.port import EventLog, Forward, PartitionWriter, Place, Positions, Step

PARTITION = 0
MOST_STEPS = 10_000
"""More than any test writes; so much has to be submitted before, since each step says that it has read on."""
ELSEWHERE = Place(Topic.COMMANDS, 1)


def events_of(number: int) -> list[str]:
    """One to four events; in every seventh step none."""
    count = 0 if number % 7 == 0 else 1 + number % 4
    return [f"{number}: {part} of {count}" for part in range(1, count + 1)]


def rejections_of(number: int) -> list[str]:
    """One in every third step, and where there is nothing else."""
    return [f"{number}: rejected"] if number % 3 == 0 or number % 7 == 0 else []


def forwards_of(number: int) -> list[str]:
    """Two in every fifth step."""
    return [f"{number}: stray {part}" for part in (1, 2)] if number % 5 == 0 and number % 7 != 0 else []


def step_of(number: int) -> Step:
    """The step, with the positions that lead to the next one."""
    return Step(
        events=[record("shop", value) for value in events_of(number)],
        rejections=[record("shop", value) for value in rejections_of(number)],
        forwards=[Forward(ELSEWHERE.topic, ELSEWHERE.partition, record("shop", v)) for v in forwards_of(number)],
        positions=Positions(commands=number, results=2 * number),
    )


def next_number(writer: PartitionWriter) -> int:
    """The number of the step that comes next, by the positions that were found at taking over."""
    assert writer.positions.results == 2 * writer.positions.commands
    return writer.positions.commands + 1


async def assert_whole(log: EventLog, acknowledged: set[int]) -> int:
    """The log holds the steps from 1 to some number, each once and whole, and all that were acknowledged.

    Returns the number of steps.
    """
    found = await history(log, PARTITION)
    rejected = [r.value.decode() for r in await read_all(log, Place(Topic.REJECTIONS, PARTITION))]
    forwarded = [r.value.decode() for r in await read_all(log, ELSEWHERE)]
    last = max((int(value.partition(":")[0]) for value in found + rejected + forwarded), default=0)
    numbers = range(1, last + 1)
    assert found == [value for number in numbers for value in events_of(number)]
    assert rejected == [value for number in numbers for value in rejections_of(number)]
    assert forwarded == [value for number in numbers for value in forwards_of(number)]
    assert acknowledged <= set(numbers)
    return last
