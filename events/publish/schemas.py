"""JSON Schemas (2020-12) of every event's data, of the envelope, of a plan, and of autopack.toml."""

from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from events.catalogue import EVENT_TYPES
from events.codec import UPCASTERS
from events.configuration import Configuration
from events.envelope import Envelope, schema_name
from events.families.base import EventData
from events.plan import RunRequest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAN = "plan.json"
CONFIGURATION = "autopack.toml.json"
ENVELOPE = "envelope.json"

Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """Every schema, by the name of its file."""
    return {
        **{file_name(event_type): event_schema(event_type) for event_type in EVENT_TYPES},
        ENVELOPE: _schema(Envelope[EventData], "urn:autopack:schema:Envelope:1"),
        PLAN: _schema(RunRequest, "urn:autopack:schema:Plan:1"),
        CONFIGURATION: _tables(_schema(Configuration, "urn:autopack:schema:Configuration:1")),
    }


def file_name(event_type: type[EventData]) -> str:
    """Where the schema of an event type lies, e.g. `RunRequested.v1.json`."""
    return f"{event_type.__name__}.v{event_type.version}.json"


def older_versions() -> set[str]:
    """Schemas of versions that are read but written no more; once published, they stay as they are."""
    return {f"{name}.v{version}.json" for name, version in UPCASTERS}


def event_schema(event_type: type[EventData]) -> Schema:
    """The schema of an event's `data`; its `$id` is what records carry as `dataschema`."""
    return _schema(event_type, schema_name(event_type))


def _schema(model: type[BaseModel], identifier: str) -> Schema:
    schema = model.model_json_schema()
    title = identifier.split(":")[3]
    return {"$schema": DIALECT, "$id": identifier, **schema, "title": title}


def _tables(schema: Schema) -> Schema:
    """In TOML a check is a table under its name; the model makes a list of them and takes a list as well."""
    schema = deepcopy(schema)
    definitions = schema["$defs"]
    check = definitions["Check"]
    definitions["CheckTable"] = {
        **check,
        "title": "CheckTable",
        "properties": {name: value for name, value in check["properties"].items() if name != "name"},
        "required": [name for name in check["required"] if name != "name"],
    }
    tables = {"type": "object", "additionalProperties": {"$ref": "#/$defs/CheckTable"}}
    profiles = definitions["RepositoryChecks"]["properties"]
    for profile in ("normal", "strict"):
        profiles[profile] = {"anyOf": [tables, profiles[profile]]}
    return schema
