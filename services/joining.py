"""Becoming a member of a group, unless one is told to stop before that."""

import asyncio

from events.log.port import EventLog, Membership
from services.awaiting import first_of


async def joined(log: EventLog, group: str, stop: asyncio.Event) -> Membership | None:
    """The membership; None where `stop` was set first: a silent server keeps nobody from ending.

    Raises LogUnavailable.
    """
    joining = asyncio.ensure_future(log.join(group))
    await first_of(joining, stop.wait())
    return None if joining.cancelled() else joining.result()
