"""Who of a group lives, as far as it is known."""

from time import monotonic

from events.log.port import Membership


class Living:
    """The living instances of a membership's group, as last heard."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._instances: frozenset[str] = frozenset()
        self._heard_at = float("-inf")

    async def look(self, not_older_than_seconds: float = 0.0) -> None:
        """Ask, unless what is known is not older than that. Raises LogUnavailable."""
        if monotonic() - self._heard_at >= not_older_than_seconds:
            self._instances = await self._membership.living()
            self._heard_at = monotonic()

    def is_gone(self, instance: str) -> bool:
        """Whether an instance does not live. While a group is made anew nobody is named, and nobody is gone."""
        return bool(self._instances) and instance not in self._instances
