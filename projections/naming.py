"""Whom an event names: its request, phase and tier, where it is of a kind that has one.

Fields are looked up beside the model, not on it: asking a model for a field that it lacks costs ten times as much,
and every projection asks every event.
"""

from events.catalogue import AnyEventData


def request_named(data: AnyEventData) -> str | None:
    """The request that an event answers or speaks of."""
    return data.__dict__.get("request_id")


def phase_named(data: AnyEventData) -> str | None:
    """The phase that an event is about."""
    return data.__dict__.get("phase_id")


def tier_named(data: AnyEventData) -> str | None:
    """The tier that an event is about."""
    return data.__dict__.get("tier_id")
