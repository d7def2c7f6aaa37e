"""What a service says of itself: to /health/ready, to the logs, to a person who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class ServiceStatus:
    """The state of one service in this process. Alive is not ready: what it waits for is in `trouble`."""

    name: str
    trouble: str | None = "starting"
    facts: dict[str, int | str] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)

    def ready(self, **facts: int | str) -> None:
        """The service does its work."""
        self.trouble = None
        self.facts |= facts

    def unavailable(self, trouble: str) -> None:
        """The service waits for something outside itself."""
        self.trouble = trouble

    def alarm(self, key: str, message: str) -> None:
        """Somebody must look at this; it stands until it is cleared."""
        self.alarms[key] = message

    def clear(self, key: str) -> None:
        """The alarm's cause is gone."""
        self.alarms.pop(key, None)

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
