"""Submitting to the log until it takes it: the log may be away for a while, work already done is not lost."""

from collections.abc import Sequence

import structlog

from events.catalogue import Topic
from events.envelope import write_submission
from events.event import Event
from events.log.port import EventLog, LogUnavailable, NewRecord
from services.retrying import Backoff

logger = structlog.get_logger(__name__)


def submission(event: Event, project: str) -> NewRecord:
    """The record that submits an event."""
    return NewRecord(project, write_submission(event, project), {"type": event.data.type_name().encode()})


async def submit_until_taken(log: EventLog, topic: Topic, records: Sequence[NewRecord]) -> None:
    """Submit, and again after each failure, until the log has acknowledged it."""
    backoff = Backoff()
    while True:
        try:
            await log.submit(topic, records)
        except LogUnavailable as error:
            logger.warning("submission waits for the log", error=str(error))
            await backoff.pause()
        else:
            return
