"""How clients connect: addresses, security, time limits, and the settings against loss.

The library's defaults lose or double records: `acks=1`, no idempotence, commits by the clock, readers that
start at the end and see uncommitted records. Here every setting that matters is given.
"""

from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from aiokafka.coordinator.assignors.range import RangePartitionAssignor

LARGEST_STEP_BYTES = 16 * 1024 * 1024
LARGEST_SUBMITTED_BYTES = 2 * 1024 * 1024
SUBMITTED_BATCH_BYTES = 512 * 1024
RETRY_MILLISECONDS = 100
WRITER_RETRY_MILLISECONDS = 5
NEVER_MILLISECONDS = 2**31 - 1
ANSWER_SECONDS = 3.0
"""What an answer may take on its way."""
TRIES = 3
"""So often a reader asks within its limit, and whoever opens a log connects: a broker that has fallen silent takes
one try, and the next goes to another. Asked only once, the limit would end all before the silence is known.
"""

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Security:
    """How to speak to the brokers; `protocol` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""

    protocol: str = "PLAINTEXT"
    ssl_context: SSLContext | None = None
    mechanism: str = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def settings(self) -> Settings:
        """The arguments of every client."""
        return {
            "security_protocol": self.protocol,
            "ssl_context": self.ssl_context,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.password,
        }


@dataclass(frozen=True, slots=True)
class Timing:
    """Time limits. A member of a group that is silent for `session_seconds` is given up by the server."""

    opening_seconds: float = 30.0
    taking_over_seconds: float = 30.0
    step_seconds: float = 10.0
    submitting_seconds: float = 10.0
    reading_seconds: float = 10.0
    checking_seconds: float = 5.0
    silence_seconds: float = 5.0
    session_seconds: float = 10.0
    rebalance_seconds: float = 10.0
    joining_seconds: float = 40.0
    closing_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything that a client needs to know of the server."""

    bootstrap: str
    security: Security = field(default_factory=Security)
    timing: Timing = field(default_factory=Timing)

    def writer_settings(self, transactional_id: str, instance: str) -> Settings:
        """One history's writer. Its requests time out no earlier than its step, so that a step whose end
        got lost is given up, with its producer, before the library would send that end a second time.
        """
        step = _milliseconds(self.timing.step_seconds)
        return self._common(step) | {
            "client_id": instance,
            "transactional_id": transactional_id,
            "transaction_timeout_ms": 2 * step,
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": 0,
            "max_batch_size": LARGEST_STEP_BYTES,
            "max_request_size": LARGEST_STEP_BYTES,
            "retry_backoff_ms": WRITER_RETRY_MILLISECONDS,
        }

    def submitter_settings(self) -> Settings:
        """The producer of commands, results and output. A record that the client lets pass is never
        refused by the server for its size: a refused batch would end an idempotent producer.
        """
        return self._common(_milliseconds(self.timing.submitting_seconds)) | {
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": 0,
            "max_batch_size": SUBMITTED_BATCH_BYTES,
            "max_request_size": LARGEST_SUBMITTED_BYTES,
            "retry_backoff_ms": RETRY_MILLISECONDS,
        }

    def reader_settings(self, wait_milliseconds: int) -> Settings:
        """A reader of assigned partitions. A server answers one request of a connection at a time: what a
        fetch waits for records, a change of position waits behind it, hence short waits.
        """
        return self._common(_milliseconds(self.timing.reading_seconds / TRIES)) | {
            "group_id": None,
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "fetch_max_wait_ms": wait_milliseconds,
            "max_partition_fetch_bytes": 1024 * 1024,
            "retry_backoff_ms": RETRY_MILLISECONDS,
        }

    def member_settings(self, group: str, instance: str) -> Settings:
        """A member of a group, which reads nothing: being polled or not says nothing of its health.

        The answer to joining comes when all have joined, so none is given up earlier. Nor much later: where the
        broker that coordinates falls silent, another takes the group over, and after a session gives up whoever
        goes on asking the silent one. A session of four seconds and less is over before.
        """
        session = _milliseconds(self.timing.session_seconds)
        rebalance = _milliseconds(self.timing.rebalance_seconds)
        return self._common(rebalance + _milliseconds(ANSWER_SECONDS)) | {
            "client_id": instance,
            "group_id": group,
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "session_timeout_ms": session,
            "heartbeat_interval_ms": min(3_000, session // 4),
            "rebalance_timeout_ms": rebalance,
            "max_poll_interval_ms": NEVER_MILLISECONDS,
            "partition_assignment_strategy": (RangePartitionAssignor,),
            "retry_backoff_ms": RETRY_MILLISECONDS,
        }

    def admin_settings(self) -> Settings:
        """The client for topics, groups and deleting."""
        settings = self._common(_milliseconds(self.timing.opening_seconds / TRIES))
        return settings | {"retry_backoff_ms": RETRY_MILLISECONDS}

    def probing_settings(self) -> Settings:
        """A bare connection to one broker."""
        settings = self._common(_milliseconds(self.timing.checking_seconds))
        return {name: value for name, value in settings.items() if name != "bootstrap_servers"}

    def _common(self, request_milliseconds: int) -> Settings:
        return {
            "bootstrap_servers": self.bootstrap,
            "request_timeout_ms": request_milliseconds,
            **self.security.settings(),
        }


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
