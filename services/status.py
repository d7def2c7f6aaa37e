"""What a service says of itself: to /health/ready, to the logs, to a person who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

NOT_KNOWN_YET = "starting"
"""What nobody need be told: it is over in a moment, or what is in the way will be known then."""
logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class ServiceStatus:
    """The state of one service in this process. Alive is not ready: what it waits for is in `trouble`.

    The log hears once when a service begins to wait, and for what, once when that is over, and of alarms.
    """

    name: str
    facts: dict[str, int | str] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)
    _trouble: str | None = NOT_KNOWN_YET
    _hindrances: dict[str, str] = field(default_factory=dict)
    _told_elsewhere: set[str] = field(default_factory=set)
    _is_told_ready: bool | None = None

    @property
    def trouble(self) -> str | None:
        """What the service waits for, or that it stands still; None where nothing is in the way."""
        return self.trouble_but_for(None)

    def trouble_but_for(self, key: str | None) -> str | None:
        """What is in the way besides what was said under a key."""
        return self._foremost(key)[1]

    def _foremost(self, passed_over: str | None = None) -> tuple[str | None, str | None]:
        """The key of what is in the way, where somebody else knows of it, and the trouble itself."""
        others = (found for found in self._hindrances.items() if found[0] != passed_over)
        return next(others, (None, self._trouble))

    def ready(self, **facts: int | str) -> None:
        """The service does its work."""
        self.facts |= facts
        self._trouble = None
        self._tell()

    def unavailable(self, trouble: str) -> None:
        """The service waits for something outside itself."""
        self._trouble = trouble
        self._tell()

    def hinder(self, key: str, trouble: str, *, is_told_elsewhere: bool = False) -> None:
        """Somebody else than the service itself knows that it cannot work, whatever it says of itself.

        Who tells the log of it, for all services together, says so.
        """
        self._hindrances[key] = trouble
        if is_told_elsewhere:
            self._told_elsewhere.add(key)
        self._tell()

    def unhinder(self, key: str) -> None:
        """That is over."""
        self._hindrances.pop(key, None)
        self._tell()

    def _tell(self) -> None:
        key, trouble = self._foremost()
        is_ready = trouble is None
        is_known = key in self._told_elsewhere or trouble == NOT_KNOWN_YET
        if is_known or is_ready is self._is_told_ready:
            return
        self._is_told_ready = is_ready
        if is_ready:
            logger.info("ready", service=self.name)
        else:
            logger.warning("not ready", service=self.name, trouble=trouble)

    def alarm(self, key: str, message: str) -> None:
        """Somebody must look at this; it stands until it is cleared."""
        if self.alarms.get(key) != message:
            logger.error("alarm", service=self.name, alarm=key, message=message)
        self.alarms[key] = message

    def clear(self, key: str) -> None:
        """The alarm's cause is gone."""
        if self.alarms.pop(key, None) is not None:
            logger.info("alarm over", service=self.name, alarm=key)

    @property
    def is_ready(self) -> bool:
        """Nothing is in the way."""
        return self.trouble is None

    def report(self) -> Mapping[str, object]:
        """Everything, as plain values."""
        return {
            "name": self.name,
            "ready": self.is_ready,
            "trouble": self.trouble,
            **self.facts,
            "alarms": dict(self.alarms),
        }
