"""The log on Postgres: one table of records, one head a partition, every write one statement."""

from events.log.postgres.failures import NotSubmitted
from events.log.postgres.log import PostgresLog

__all__ = ["NotSubmitted", "PostgresLog"]
