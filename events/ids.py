"""Ids that follow from a cause by rule, so that doing a thing again gives the same id (RFC 9562, version 5)."""

import json
from uuid import UUID, uuid5

_NAMESPACE = UUID("7b1d6f0e-5b1c-5e0e-9d3a-2f8c1d0a4e11")


def derived_id(*parts: str | int) -> str:
    """The UUIDv5 of the parts; equal parts give an equal id on every machine and in every year.

    They are written as a JSON array in ASCII: whatever stands in them, no other parts are written alike.
    """
    return str(uuid5(_NAMESPACE, json.dumps(parts)))
