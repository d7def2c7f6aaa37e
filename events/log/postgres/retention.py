"""Letting go of what is kept for a time only: refused records, and live output."""

import asyncio
import logging

from events.catalogue import Topic
from events.log.port import LogUnavailable
from events.log.postgres.server import Pool
from events.log.postgres.statements import EXPIRE

DAY_SECONDS = 86_400.0
KEPT_SECONDS = {Topic.REJECTIONS: 30 * DAY_SECONDS, Topic.OUTPUT: DAY_SECONDS}
EVERY_SECONDS = 600.0
logger = logging.getLogger(__name__)


async def keep_expiring(lazy: Pool, partition_count: int) -> None:
    """Delete now and then what is past its time, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            for topic, kept_seconds in KEPT_SECONDS.items():
                await expire(lazy, topic, partition_count, kept_seconds)
        except LogUnavailable as error:
            logger.info("%s", error)
        except Exception:  # a fault of ours or of the driver: what is kept too long harms nobody
            logger.exception("expiring failed")


async def expire(lazy: Pool, topic: Topic, partition_count: int, kept_seconds: float) -> None:
    """Delete what the log took longer ago than this. Raises LogUnavailable."""
    for partition in range(partition_count):
        await lazy.fetch(f"expiring {topic}", EXPIRE, topic.value, partition, kept_seconds)
