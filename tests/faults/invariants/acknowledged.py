"""I1: whatever was acknowledged is decided, admitted or refused, and once; and so is all that was submitted."""

from collections import Counter
from collections.abc import Iterator, Mapping

from faults.invariants.evidence import HISTORY, REJECTIONS, Evidence, Log, Record


def violations(evidence: Evidence) -> Iterator[str]:
    """Acknowledged submissions that are nowhere, records that nobody has read, and those refused twice."""
    log = evidence.log
    decided = _decided(log)
    refused = Counter((_refused_place(r.headers), r.value) for r in log.of(REJECTIONS))
    places = {place for place, _ in refused}
    waiting = unread(log)
    there = {(record.topic, record.id) for record in waiting}
    for told in evidence.acknowledged:
        place = (told.topic, str(told.partition), str(told.offset))
        if told.event_id not in decided and place not in places and (told.topic, told.event_id) not in there:
            yield (
                f"event {told.event_id} was acknowledged at {'/'.join(place)}, and is neither in the history "
                "nor among the rejections, nor does it wait to be read"
            )
    yield from (f"{record} waits, though nothing goes on any more: nobody has read it" for record in waiting)
    for (place, _), count in refused.items():
        if count > 1:
            yield f"the record at {'/'.join(place)} was refused {count} times"


def unread(log: Log) -> list[Record]:
    """What was submitted, and neither a step has passed nor anybody has decided.

    On Kafka only steps that write say how far they have read: what was known already is behind the last of them.
    """
    decided = _decided(log)
    refused = {_refused_place(record.headers) for record in log.of(REJECTIONS)}
    return [
        record
        for record in log.records
        if record.topic not in (HISTORY, REJECTIONS)
        and record.offset >= log.passed.get((record.topic, record.partition), 0)
        and record.id not in decided
        and (record.topic, str(record.partition), str(record.offset)) not in refused
    ]


def _decided(log: Log) -> set[str]:
    """The ids of all that was admitted or refused."""
    return {record.id for record in log.of(HISTORY)} | {_text(r.headers, "id") for r in log.of(REJECTIONS)}


def _refused_place(headers: Mapping[str, bytes]) -> tuple[str, str, str]:
    topic, partition, offset = (_text(headers, f"source_{part}") for part in ("topic", "partition", "offset"))
    return topic, partition, offset


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode("utf-8", "replace")
