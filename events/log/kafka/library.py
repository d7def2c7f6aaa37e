"""Two habits of the library that are changed for the whole process, when the first log is opened."""

import logging

from aiokafka.producer import sender

TRANSACTION_RETRY_SECONDS = 0.002
EXPECTED = ("ConcurrentTransactions", "CONCURRENT_TRANSACTIONS", "NotEnoughReplicas", "NOT_ENOUGH_REPLICAS")


def tune() -> None:
    """Shorten the library's pause between transactions, and quieten what is said in normal running.

    A transaction's end is answered before its markers are written. The next transaction that comes within
    that moment, as the next step of a busy partition always does, is told CONCURRENT_TRANSACTIONS, and the
    library then sleeps for BACKOFF_OVERRIDE, 20 ms: more than twice as long as all the rest of a step.
    """
    sender.BACKOFF_OVERRIDE = TRANSACTION_RETRY_SECONDS
    if not any(isinstance(known, ExpectedRetries) for known in sender.log.filters):
        sender.log.addFilter(ExpectedRetries())


class ExpectedRetries(logging.Filter):
    """Lowers warnings about retries that belong to normal running."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lower the record where it is one of those; whether it is still to be written."""
        if record.levelno >= logging.WARNING and any(name in record.getMessage() for name in EXPECTED):
            record.levelno, record.levelname = logging.DEBUG, logging.getLevelName(logging.DEBUG)
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True
