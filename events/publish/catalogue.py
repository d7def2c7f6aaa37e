"""The catalogue of events as a page: family by family, with fields and who writes them."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from events.catalogue import EVENT_TYPES, FAMILIES, SUBMITTED_TO, Topic
from events.families.base import EventData
from events.families.run import PrepareFailed, RunPrepared, RunPromoted
from events.families.time import DeadlinePassed
from events.families.work import WorkStarted
from events.publish.schemas import event_schema, file_name

_WORKERS = {
    "build": "the builder",
    "audit": "the auditor",
    "apply": "the applier",
    "integrate": "the applier",
    "verify": "the verifier",
}
_OTHERS: dict[type[EventData], str] = {
    RunPrepared: "the applier",
    PrepareFailed: "the applier",
    RunPromoted: "whoever promoted the run",
    WorkStarted: "the worker that claims the request",
    DeadlinePassed: "the supervisor, to itself",
}

_INTRODUCTION = """\
# The events

Generated from the models by `python -m events.publish`; a test fails where this page and the code differ.

Every event is a CloudEvents 1.0 record in structured JSON mode. Nothing is true until the supervisor has
written it to `autopack.events`: what others submit stands there only once it was admitted, with the id and
source that it came with. `type` is `autopack.<Name>.v<version>`; `dataschema` is the `$id` of the schema
named here. In the history `sequence` counts the records of a run from 0, and `prevhash` is the SHA-256 of
the exact bytes of the record before (64 zeros in the first). The topics and envelopes are described in
[asyncapi.json](asyncapi.json), the envelope in [schemas/envelope.json](schemas/envelope.json), a plan in
[schemas/plan.json](schemas/plan.json), `autopack.toml` in
[schemas/autopack.toml.json](schemas/autopack.toml.json).
"""


def catalogue() -> str:
    """The whole page, Markdown."""
    families = (line for family in FAMILIES for line in _family(family))
    return "\n".join([_INTRODUCTION, *_overview(), *families, *_values()])


def _overview() -> Iterator[str]:
    yield "| family | events |"
    yield "|---|---|"
    for family, members in FAMILIES.items():
        names = ", ".join(f"[{t.__name__}](#{t.__name__.lower()})" for t in members)
        yield f"| {family} | {names} |"
    yield ""


def _family(family: str) -> Iterator[str]:
    yield f"## {family}"
    yield ""
    for event_type in FAMILIES[family]:
        yield from _event(family, event_type)


def _event(family: str, event_type: type[EventData]) -> Iterator[str]:
    yield f"### {event_type.__name__}"
    yield ""
    yield cleandoc(event_type.__doc__ or "")
    yield ""
    schema = f"[schema](schemas/{file_name(event_type)})"
    yield f"`{event_type.type_name()}` · {_writer(family, event_type)} · {schema}"
    yield ""
    yield from _fields(event_schema(event_type))


def _values() -> Iterator[str]:
    """What several events share: the values inside them, and closed sets of words."""
    yield "## Values"
    yield ""
    shared: dict[str, dict[str, Any]] = {}
    for event_type in EVENT_TYPES:
        shared |= event_schema(event_type).get("$defs", {})
    for name, schema in sorted(shared.items()):
        yield f"### {name}"
        yield ""
        yield cleandoc(schema.get("description", ""))
        yield ""
        if "properties" in schema:
            yield from _fields(schema)
        else:
            yield f"One of {_type(schema)}."
            yield ""


def _writer(family: str, event_type: type[EventData]) -> str:
    topic = SUBMITTED_TO.get(event_type)
    if topic is None:
        return "written by the supervisor"
    default = "an emitter" if topic is Topic.COMMANDS else _WORKERS.get(family, "a worker")
    return f"submitted to `{topic}` by {_OTHERS.get(event_type, default)}"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "| field | type | |"
    yield "|---|---|---|"
    for name, field in schema["properties"].items():
        yield f"| `{name}` | {_type(field)} | {'required' if name in required else _default(field)} |"
    yield ""


def _default(field: dict[str, Any]) -> str:
    """Objects and lists have the default that their own fields say."""
    default = field.get("default")
    plain = isinstance(default, str | int | float) and default != ""
    return f"default {default}" if plain else ""


def _type(field: dict[str, Any]) -> str:
    """A field's type in a word or two; the schema has it exactly."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option) for option in field["anyOf"]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    match field.get("type"):
        case "array":
            return f"list of {_type(field['items'])}" if "items" in field else "list"
        case "string":
            return "time" if field.get("format") == "date-time" else "text"
        case "null":
            return "null"
        case "object":
            return "object"
        case other:
            return str(other)
