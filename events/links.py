"""What of a record makes it part of its run's chain, read without its data."""

from typing import NamedTuple

import orjson

from events.codec import UnreadableRecord
from events.decide.verdicts import Reason

_DATA = b',"data":'


class LinkAttributes(NamedTuple):
    """A record's place in the chain of its run."""

    type_name: str
    project: str
    run_id: str
    sequence: int
    prevhash: str


def read_link_attributes(value: bytes, type_name: str | None = None) -> LinkAttributes:
    """The attributes that make the chain. Raises UnreadableRecord.

    The data comes last in what the supervisor writes, so the attributes before it are read alone.
    """
    head, found, _ = value.partition(_DATA)
    try:
        attributes = orjson.loads(head + b"}" if found else value)
        return LinkAttributes(
            type_name=type_name or attributes["type"],
            project=attributes["project"],
            run_id=attributes["runid"],
            sequence=int(attributes["sequence"]),
            prevhash=attributes["prevhash"],
        )
    except (ValueError, KeyError, TypeError) as error:
        message = f"not a record of the history: {type(error).__name__}: {error}"
        raise UnreadableRecord(Reason.UNREADABLE, message) from error
