"""From records of the history to entries: every record's link is looked at, but only what is wanted is parsed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from events.catalogue import BY_NAME
from events.codec import UnreadableRecord, read_history
from events.families.base import EventData
from events.history import NO_HEAD, Head, Link, link
from events.links import read_link_attributes
from events.log.port import StoredRecord
from projections.checkpoints import KnownHead, RunKey
from projections.projection import Entry, Projection


@dataclass(frozen=True, slots=True)
class Linked:
    """A record, and its place in the chain of its run."""

    record: StoredRecord
    type_name: str
    project: str
    run_id: str
    sequence: int
    prevhash: str

    @property
    def run(self) -> RunKey:
        """Whose chain it is part of."""
        return self.project, self.run_id


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record of which not even the place in a chain can be told: no reader passes it."""

    record: StoredRecord
    error: UnreadableRecord


def read_links(records: Iterable[StoredRecord]) -> tuple[list[Linked], Unreadable | None]:
    """The records up to the first that cannot be read at all, and that one."""
    links: list[Linked] = []
    for record in records:
        try:
            links.append(read_link(record))
        except UnreadableRecord as error:
            return links, Unreadable(record, error)
    return links, None


def read_link(record: StoredRecord) -> Linked:
    """A record's place in the chain. Raises UnreadableRecord."""
    at = read_link_attributes(record.value, record.type_name)
    return Linked(record, at.type_name, at.project, at.run_id, at.sequence, at.prevhash)


@dataclass(frozen=True, slots=True)
class Chained:
    """The records that extend their runs' chains; the heads that they make; the runs that forked just now."""

    links: Sequence[Linked]
    heads: Mapping[RunKey, KnownHead]
    forked: Mapping[RunKey, str]


def chain_up(links: Iterable[Linked], known: Mapping[RunKey, KnownHead]) -> Chained:
    """Pass over repeats, put runs that fork into quarantine, and go on with the others."""
    extending: list[Linked] = []
    changed: dict[RunKey, KnownHead] = {}
    forked: dict[RunKey, str] = {}
    for one in links:
        standing = changed.get(one.run) or known.get(one.run) or KnownHead(NO_HEAD)
        if standing.quarantine is not None:
            continue
        match link(standing.head, one.sequence, one.prevhash, one.record.value):
            case Link.REPEATS:
                continue
            case Link.FORKS:
                reason = f"record {one.sequence} at offset {one.record.offset} does not extend the chain"
                forked[one.run] = reason
                changed[one.run] = KnownHead(standing.head, reason)
            case Link.EXTENDS:
                digest = sha256(one.record.value).hexdigest()
                changed[one.run] = KnownHead(Head(one.sequence, digest))
                extending.append(one)
    return Chained(extending, changed, forked)


Parsed = Entry | UnreadableRecord


def parse(links: Iterable[Linked], projections: Sequence[Projection[Any]]) -> list[tuple[Linked, Parsed]]:
    """Each record that any of the projections wants, read once for all of them."""
    wanted: dict[str, bool] = {}
    parsed = []
    for one in links:
        if one.type_name not in wanted:
            wanted[one.type_name] = any(wants(projection, one.type_name) for projection in projections)
        if wanted[one.type_name]:
            parsed.append((one, _parsed(one)))
    return parsed


def _parsed(one: Linked) -> Parsed:
    try:
        read = read_history(_storable(one.record.value), one.type_name)
    except UnreadableRecord as error:
        return error
    return Entry(read.project, one.record.partition, one.record.offset, read.sequence, read.event, one.type_name)


_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def _storable(value: bytes) -> bytes:
    """The record without U+0000, which JSON can hold and Postgres cannot."""
    return _NUL.sub(rb"\1\\ufffd", value) if rb"\u0000" in value else value


def wants(projection: Projection[Any], type_name: str) -> bool:
    """Whether a projection must read records of this type, by name alone.

    Types and versions that this code does not know concern every projection: none may pass over what it
    cannot judge.
    """
    known = _known_type(type_name)
    return known is None or known in projection.wanted


@lru_cache(maxsize=1024)
def _known_type(type_name: str) -> type[EventData] | None:
    prefix, _, rest = type_name.partition(".")
    name, _, version = rest.partition(".v")
    event_type = BY_NAME.get(name)
    if prefix != "autopack" or event_type is None or not version.isdecimal():
        return None
    return event_type if 1 <= int(version) <= event_type.version else None
