"""What becomes of each submitted record, as parts of one step: pure, from a state to the next."""

from collections.abc import Sequence

import orjson
import structlog
from msgspec import Struct
from msgspec.structs import replace
from pydantic_core import from_json

from events.catalogue import SUBMITTED_TO
from events.codec import BINARY_MODE, MAX_SUBMISSION_BYTES, Submission, UnreadableRecord, read_submission
from events.decide import Context, outcome
from events.decide.verdicts import Reason, Rejection
from events.event import Event
from events.families.run import RunRequested
from events.history import HistoryRecord, PartitionState, chain
from events.log.partitions import home_partition
from events.log.port import Forward, NewRecord, StoredRecord
from events.plan import Fault
from events.state import Project
from services.supervisor.reminders import is_forged

LONGEST_PROJECT = 100
LONGEST_KEY = 1_000
MOST_HEADERS_KEPT_BYTES = 64 * 1024
MOST_FAULTS = 100
LONGEST_MESSAGE = 4_000
logger = structlog.get_logger(__name__)


class Limits(Struct, frozen=True):
    """What the operator allows in this service, and the repository of requests that name none."""

    runs_at_once: int | None = None
    repository: str | None = None


class Judgement(Struct, frozen=True):
    """The outcome of one submitted record: the state after it, and what is to be written."""

    state: PartitionState
    events: tuple[NewRecord, ...] = ()
    rejection: NewRecord | None = None
    forward: Forward | None = None
    touched: tuple[tuple[str, str], ...] = ()

    @property
    def size_bytes(self) -> int:
        """What is to be written, without headers."""
        refused = len(self.rejection.value) if self.rejection else 0
        forwarded = len(self.forward.record.value) if self.forward else 0
        return refused + forwarded + sum(len(event.value) for event in self.events)


class Judge:
    """Judges the records of one partition."""

    def __init__(self, partition: int, partition_count: int, limits: Limits) -> None:
        self._partition = partition
        self._partition_count = partition_count
        self._limits = limits

    def judge(self, state: PartitionState, record: StoredRecord) -> Judgement:
        """Forward what is away from home, refuse what cannot be, decide the rest."""
        project = _project_named(record)
        if (size_bytes := len(record.value) + _headers_bytes(record)) > MAX_SUBMISSION_BYTES:
            # Refused wherever it lies: under the key that a forward gives it, it may be too large for its topic.
            message = f"{size_bytes} bytes, headers included; {MAX_SUBMISSION_BYTES} at most"
            refusal = Rejection(Reason.TOO_LARGE, message)
            return Judgement(state, rejection=rejection_record(record, refusal, project))
        home = home_partition(project, self._partition_count) if project else self._partition
        if project and home != self._partition:
            forwarded = NewRecord(project, record.value, record.headers)
            return Judgement(state, forward=Forward(record.topic, home, forwarded))
        try:
            submission = read_submission(record.value, record.headers, record.recorded_at)
        except UnreadableRecord as error:
            refusal = Rejection(error.reason, error.message, error.faults)
            return Judgement(state, rejection=rejection_record(record, refusal, project))
        try:
            return self._decided(state, record, submission)
        except Exception as error:
            # A fault of the rules costs the record that met it, never the partition it lies in.
            logger.exception("undecidable", record=record.offset, run=submission.event.run_id)
            refusal = Rejection(Reason.UNDECIDABLE, f"{type(error).__name__}: {error}")
            return Judgement(
                state, rejection=rejection_record(record, refusal, submission.project, submission.event)
            )

    def _decided(self, state: PartitionState, record: StoredRecord, submission: Submission) -> Judgement:
        project_id, event = submission.project, submission.event
        refusal = self._misplaced(state, record, submission)
        if refusal is not None:
            return Judgement(state, rejection=rejection_record(record, refusal, project_id, event))
        context = Context(record.recorded_at, self._limits.runs_at_once)
        found = outcome(state.project(project_id), self._filled_in(event), context)
        judgement = written(state, found.project, found.events)
        if found.rejection is None:
            return judgement
        return replace(judgement, rejection=rejection_record(record, found.rejection, project_id, event))

    def _filled_in(self, event: Event) -> Event:
        """The event as it enters the history: what a request leaves to this service stands in it."""
        data = event.data
        if not isinstance(data, RunRequested) or data.repository is not None or self._limits.repository is None:
            return event
        return replace(event, data=data.model_copy(update={"repository": self._limits.repository}))

    def _misplaced(self, state: PartitionState, record: StoredRecord, submission: Submission) -> Rejection | None:
        """Reasons to refuse that lie in where a record came from, not in its project's state."""
        event = submission.event
        if home_partition(submission.project, self._partition_count) != self._partition:
            return _awry("project", "the record names several projects")
        if is_forged(submission.project, event):
            return _awry("source", "reserved for the supervisor's own deadlines")
        reason = state.quarantined.get((submission.project, event.run_id))
        if reason is not None:
            return Rejection(Reason.QUARANTINED, f"run {event.run_id!r} is in quarantine: {reason}")
        belongs = SUBMITTED_TO.get(type(event.data))
        if belongs is not None and belongs is not record.topic:
            return Rejection(Reason.WRONG_TOPIC, f"{type(event.data).__name__} is submitted to {belongs}")
        return None


def written(state: PartitionState, project: Project, events: Sequence[Event]) -> Judgement:
    """The state after a step of a project that these events made, and their records."""
    if not events:
        return Judgement(state)
    project_id = project.project_id
    records, heads = chain(state.heads, project_id, events)
    return Judgement(
        replace(state, projects=state.projects.set(project_id, project), heads=heads),
        events=tuple(history_record(record) for record in records),
        touched=tuple({(project_id, event.run_id) for event in events}),
    )


def history_record(record: HistoryRecord) -> NewRecord:
    """A record of the history, its type and run beside it."""
    headers = {"type": record.type_name.encode(), "run": record.run_id.encode()}
    return NewRecord(record.project, record.value, headers)


def _awry(place: str, message: str) -> Rejection:
    return Rejection(Reason.INVALID_DATA, f"{place}: {message}", (Fault(place=place, message=message),))


def _project_named(record: StoredRecord) -> str | None:
    """The project that a record speaks of, read as leniently as can be: it may have to go elsewhere first.

    What is too long for a project's name has no home: it would become the key of whatever is written.
    """
    if BINARY_MODE in record.headers:
        project: object = record.headers.get("ce_project", b"").decode("utf-8", "replace")
    else:
        try:
            raw = from_json(record.value)
        except ValueError:
            return None
        project = raw.get("project") if isinstance(raw, dict) else None
    return project if isinstance(project, str) and 0 < len(project) <= LONGEST_PROJECT else None


def _headers_bytes(record: StoredRecord) -> int:
    return sum(len(name.encode()) + len(value) for name, value in record.headers.items())


def rejection_record(
    record: StoredRecord, rejection: Rejection, project: str | None, event: Event | None = None
) -> NewRecord:
    """The refused record: its raw bytes, and in headers why, and where it lay.

    A flood of headers is left behind, or of faults: together they might fit no batch, and a record that can
    neither be admitted nor refused would stop its partition.
    """
    original = record.headers if _headers_bytes(record) <= MOST_HEADERS_KEPT_BYTES else {}
    headers = {
        **{f"original.{name}": value for name, value in original.items()},
        "reason": rejection.reason.encode(),
        "message": rejection.message[:LONGEST_MESSAGE].encode("utf-8", "replace"),
        "faults": orjson.dumps([fault.model_dump() for fault in rejection.faults[:MOST_FAULTS]]),
        "source_topic": record.topic.encode(),
        "source_partition": str(record.partition).encode(),
        "source_offset": str(record.offset).encode(),
    }
    if event is not None:
        headers |= {
            "source": event.source.encode(),
            "id": event.id.encode(),
            "run": event.run_id.encode(),
            "original.type": event.data.type_name().encode(),
        }
    return NewRecord(project or (record.key or "")[:LONGEST_KEY], record.value, headers)
