"""Joins the group `workers`, and says what it owns: `is <instance>` and `owns <partitions>` at every change."""

import asyncio

from opening import open_given_log, say


async def main() -> None:
    """A member until it is killed."""
    log = await open_given_log()
    membership = await log.join("workers")
    known: frozenset[int] = frozenset()
    while True:
        say(f"is {membership.instance}")
        say(f"owns {' '.join(map(str, sorted(known)))}")
        known = await membership.changed(known)


asyncio.run(main())
