"""The CloudEvents 1.0 envelope, in structured JSON mode, around every event."""

from functools import cache
from typing import Annotated, Generic, Literal, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from events.event import Event
from events.families.base import EventData
from events.plan import SafeId

DataT = TypeVar("DataT", bound=EventData)

SUPERVISOR = "/autopack/supervisor"
GENESIS_HASH = "0" * 64


class Envelope(BaseModel, Generic[DataT]):
    """The attributes of a record.

    `sequence`, `prevhash` and `recordedtime` are set by the supervisor and stand in the history alone:
    the place of the record in its run, the SHA-256 of the exact bytes of the record before, and the log's
    clock. Unknown extension attributes are passed over, as CloudEvents asks.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    type: str
    subject: str | None = None
    time: AwareDatetime | None = None
    datacontenttype: Literal["application/json"] | None = None
    dataschema: str | None = None
    project: SafeId
    runid: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    partitionkey: str | None = None
    traceparent: Annotated[str, StringConstraints(max_length=128)] | None = None
    causationid: Annotated[str, StringConstraints(max_length=128)] | None = None
    sequence: Annotated[int, Field(ge=0)] | None = None
    prevhash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    recordedtime: AwareDatetime | None = None
    data: DataT


def write_submission(event: Event, project: str) -> bytes:
    """The bytes of an event that a worker or emitter submits."""
    return _assemble(_attributes(event, project), event.data)


def write_history(event: Event, project: str, sequence: int, prevhash: str) -> bytes:
    """The bytes of an event in the history; the same arguments give the same bytes."""
    chained = {"sequence": sequence, "prevhash": prevhash, "recordedtime": event.recorded_at}
    return _assemble(_attributes(event, project) | chained, event.data)


@cache
def schema_name(event_type: type[EventData]) -> str:
    """The URN that `dataschema` holds and that the published schema has as its `$id`."""
    return f"urn:autopack:schema:{event_type.__name__}:{event_type.version}"


def _attributes(event: Event, project: str) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.data.type_name(),
        "subject": event.run_id,
        "time": event.time or event.recorded_at,
        "datacontenttype": "application/json",
        "dataschema": schema_name(type(event.data)),
        "project": project,
        "runid": event.run_id,
        "partitionkey": project,
        "traceparent": event.traceparent,
        "causationid": event.cause_id,
    }


def _assemble(attributes: dict[str, object], data: EventData) -> bytes:
    """One JSON object; the data is serialised once, by the model's own serialiser."""
    named = {name: value for name, value in attributes.items() if value is not None}
    head = orjson.dumps(named, option=orjson.OPT_UTC_Z)
    return b'%s,"data":%s}' % (head[:-1], data.__pydantic_serializer__.to_json(data))
