"""What can go wrong with the log on Kafka, and how the library's errors become the port's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from events.log.port import LogUnavailable, LogUnfit


class TopicsUnfit(LogUnfit):
    """The topics on the server are not as the log needs them."""


class StepTooLarge(Exception):
    """A part of a step that must be one batch is larger than its topic takes; nothing was written."""


class RecordTooLarge(Exception):
    """A record is larger than its topic takes; it was not written."""


class NotSubmitted(Exception):
    """Nobody submits to this topic: the supervisor's steps alone write to it."""


@asynccontextmanager
async def within(limit_seconds: float, doing: str, but: type[KafkaError] | tuple[()] = ()) -> AsyncIterator[None]:
    """Bound what is done inside, and raise LogUnavailable with the cause where the server fails it, `but`
    for an error that the caller can do something about.

    The library by itself retries for ever, so every call to it has such a bound.
    """
    try:
        async with asyncio.timeout(limit_seconds):
            yield
    except TimeoutError as error:
        raise LogUnavailable(f"{doing}: no answer within {limit_seconds} s") from error
    except but:
        raise
    # The library asserts that it knows a broker; it does not when the last one has gone.
    except (KafkaError, OSError, AssertionError) as error:
        raise LogUnavailable(f"{doing}: {error!r}") from error


def says_fenced(error: BaseException) -> bool:
    """Whether the server refused a writer because a later one has taken over."""
    return any(isinstance(cause, ProducerFenced | InvalidProducerEpoch) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
