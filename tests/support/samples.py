"""A sample of every event type with every field filled, made from its schema; the same on every machine."""

from datetime import UTC, datetime
from typing import Any

from events.event import Event
from events.families.base import EventData

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

_PATTERNS = {
    "^([0-9a-f]{40}|[0-9a-f]{64})$": "0123456789abcdef0123456789abcdef01234567",
    "^sha256:[0-9a-f]{64}$": "sha256:" + "0123456789abcdef" * 4,
    r"^(?!.*\.\.)(?!.*(\.lock|\.)$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}$": "sample-1",
    r"^[^\x00-\x1f\x7f]+$": "Tier 1",
}


def sample(event_type: type[EventData]) -> Any:
    """An event's data with every field filled."""
    schema = event_type.model_json_schema()
    return event_type.model_validate(_value(schema, schema.get("$defs", {}), "data"))


def sample_event(event_type: type[EventData]) -> Event:
    """A sample in a run's history."""
    return Event(
        id="0192d3b4-0000-7000-8000-000000000001",
        source="/autopack/sample",
        run_id="run-1",
        recorded_at=AT,
        data=sample(event_type),
        cause_id="0192d3b4-0000-7000-8000-000000000000",
        time=AT,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def _value(schema: dict[str, Any], definitions: dict[str, Any], name: str) -> Any:
    if "$ref" in schema:
        return _value(definitions[schema["$ref"].rpartition("/")[2]], definitions, name)
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], definitions, name)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return _object(schema, definitions)
        case "array":
            return [_value(schema["items"], definitions, name)]
        case "string":
            return _text(schema, name)
        case "boolean":
            return True
        case "integer":
            return 3
        case "number":
            return 0.5
        case other:
            raise AssertionError(f"no sample for {other}")


def _object(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in schema:
        return {"docs": _value(schema["additionalProperties"], definitions, "docs")}
    return {name: _value(field, definitions, name) for name, field in schema["properties"].items()}


def _text(schema: dict[str, Any], name: str) -> str:
    if schema.get("format") == "date-time":
        return AT.isoformat()
    return _PATTERNS[schema["pattern"]] if "pattern" in schema else f"{name}: ä \u2028 \u0001"
