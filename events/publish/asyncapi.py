"""An AsyncAPI 3.0 document of the topics, and of what may stand on each. It names no host."""

from importlib.metadata import version
from typing import Any

from events.catalogue import EVENT_TYPES, SUBMITTED_TO, Topic, family_of
from events.families.base import EventData
from events.publish.schemas import ENVELOPE, file_name

_ABOUT = {
    Topic.COMMANDS: "What people and programs ask. Untrusted: each is admitted into the history or refused.",
    Topic.RESULTS: "What workers and external agents report. Untrusted, as commands are.",
    Topic.EVENTS: "The history: what happened, written by the supervisor alone and kept for ever.",
    Topic.REJECTIONS: "Each refused record: its raw bytes as they came, and in headers why and where it lay.",
    Topic.OUTPUT: "Live lines of output of agents and checks; never part of any state.",
}

_KEY = {"type": "string", "description": "The project. Records of one project keep their order."}


def asyncapi() -> dict[str, Any]:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Autopack events",
            "version": version("autopack"),
            "description": "CloudEvents 1.0 in structured JSON mode; the key of every record is its project. "
            "Submitted records may come in binary content mode as well.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {topic.value: _channel(topic) for topic in Topic},
        "operations": dict(_operation(topic) for topic in Topic),
        "components": {
            "messages": {
                **{t.__name__: _event_message(t) for t in EVENT_TYPES},
                "Rejected": _rejected(),
                "OutputLine": _output_line(),
            },
            "messageTraits": {"keyed": {"bindings": {"kafka": {"key": _KEY}}}},
            "schemas": {"Envelope": {"$ref": f"./schemas/{ENVELOPE}"}},
            "tags": {family: {"name": family} for family in dict.fromkeys(map(family_of, EVENT_TYPES))},
        },
    }


def messages_on(topic: Topic) -> list[str]:
    """The names of the messages that may stand on a topic."""
    if topic is Topic.REJECTIONS:
        return ["Rejected"]
    if topic is Topic.OUTPUT:
        return ["OutputLine"]
    return [t.__name__ for t in EVENT_TYPES if topic in (Topic.EVENTS, SUBMITTED_TO.get(t))]


def _channel(topic: Topic) -> dict[str, Any]:
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in messages_on(topic)}
    return {"address": topic.value, "description": _ABOUT[topic], "messages": messages}


def _operation(topic: Topic) -> tuple[str, dict[str, Any]]:
    """As a client sees it: it sends to the submitted topics, and receives from the others."""
    action = "send" if topic in (Topic.COMMANDS, Topic.RESULTS) else "receive"
    name = topic.value.rpartition(".")[2].capitalize()
    channel = {"$ref": f"#/channels/{topic.value.replace('~', '~0').replace('/', '~1')}"}
    return f"{action}{name}", {"action": action, "channel": channel}


def _event_message(event_type: type[EventData]) -> dict[str, Any]:
    data = {"$ref": f"./schemas/{file_name(event_type)}"}
    exact = {"type": {"const": event_type.type_name()}, "data": data}
    return {
        "name": event_type.type_name(),
        "title": event_type.__name__,
        "summary": (event_type.__doc__ or "").partition("\n")[0],
        "contentType": "application/cloudevents+json",
        "tags": [{"$ref": f"#/components/tags/{family_of(event_type)}"}],
        "traits": [{"$ref": "#/components/messageTraits/keyed"}],
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"allOf": [{"$ref": f"./schemas/{ENVELOPE}"}, {"properties": exact}]},
        },
    }


def _rejected() -> dict[str, Any]:
    names = ("reason", "message", "faults", "source_topic", "source_partition", "source_offset")
    return {
        "name": "Rejected",
        "summary": "A refused record, byte for byte.",
        "contentType": "application/octet-stream",
        "traits": [{"$ref": "#/components/messageTraits/keyed"}],
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in names},
            "required": list(names),
        },
        "payload": {},
    }


def _output_line() -> dict[str, Any]:
    return {
        "name": "OutputLine",
        "summary": "Some output of an agent or a check, redacted and capped.",
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/keyed"}],
        "payload": {},
    }
