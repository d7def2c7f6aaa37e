"""How a person is told of a record: where it lies, and which event it is."""

from pydantic_core import from_json

from events.log.port import StoredRecord


def told(record: StoredRecord) -> str:
    """The place of a record, and the id of its event as far as it can be read."""
    return f"{record.topic}, partition {record.partition}, offset {record.offset}, event {event_id(record.value)}"


def event_id(value: bytes) -> str:
    """The id of an event that this code may not be able to read; `unknown` where it has none to be seen."""
    try:
        read = from_json(value)
    except ValueError:
        return "unknown"
    found = read.get("id") if isinstance(read, dict) else None
    return found[:128] if isinstance(found, str) else "unknown"
