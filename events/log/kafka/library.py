"""Habits of the library that are changed for the whole process, when the first log is opened."""

import logging
from collections.abc import Mapping, Sequence

from aiokafka.producer import sender

from events.log.kafka.names import read_any_names
from events.log.kafka.suspects import tell_of_silence

TRANSACTION_RETRY_SECONDS = 0.002

QUIETENED: Mapping[str, Sequence[str]] = {
    # Normal running: a step that follows close on another; a replica that is just coming back, or gone.
    "aiokafka.producer.sender": (
        "ConcurrentTransactions",
        "CONCURRENT_TRANSACTIONS",
        "NotEnoughReplicas",
        "NOT_ENOUGH_REPLICAS",
        "NodeNotReadyError",
    ),
    # A broker that is away, many times a second: the log itself says so, by LogUnavailable.
    "aiokafka": ("Unable connect to ", "Unable to update metadata", "Unable to request metadata"),
    "aiokafka.consumer.fetcher": ("Failed fetch messages",),
    "aiokafka.consumer.group_coordinator": ("Group Coordinator Request failed", "Heartbeat send request failed"),
}
"""By logger, what is said below warning."""


def tune() -> None:
    """Shorten the library's pause between transactions, lower what it says again and again, read names, and share
    what is known of silent brokers.

    A transaction's end is answered before its markers are written. The next transaction that comes within
    that moment is told CONCURRENT_TRANSACTIONS, and the library then sleeps for BACKOFF_OVERRIDE, 20 ms:
    more than twice as long as all the rest of a step.
    """
    read_any_names()
    tell_of_silence()
    sender.BACKOFF_OVERRIDE = TRANSACTION_RETRY_SECONDS
    for name, phrases in QUIETENED.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, Lowered) for known in logger.filters):
            logger.addFilter(Lowered(phrases))


class Lowered(logging.Filter):
    """Lowers warnings and errors in which one of the phrases occurs."""

    def __init__(self, phrases: Sequence[str]) -> None:
        super().__init__()
        self._phrases = phrases

    def filter(self, record: logging.LogRecord) -> bool:
        """Lower the record where it is one of those; whether it is still to be written."""
        if record.levelno >= logging.WARNING and any(phrase in record.getMessage() for phrase in self._phrases):
            record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True
