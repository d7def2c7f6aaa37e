"""I1: whatever was acknowledged is in the log: admitted, refused, or waiting to be decided; and decided once."""

from collections import Counter
from collections.abc import Iterator, Mapping

from faults.invariants.evidence import HISTORY, REJECTIONS, Evidence, Log


def violations(evidence: Evidence) -> Iterator[str]:
    """Acknowledged submissions that are nowhere, and records that were refused twice."""
    log = evidence.log
    decided = {record.id for record in log.of(HISTORY)} | {_text(r.headers, "id") for r in log.of(REJECTIONS)}
    refused = Counter((_refused_place(r.headers), r.value) for r in log.of(REJECTIONS))
    places = {place for place, _ in refused}
    waiting = _waiting(log)
    for told in evidence.acknowledged:
        place = (told.topic, str(told.partition), str(told.offset))
        if told.event_id not in decided and place not in places and (told.topic, told.event_id) not in waiting:
            yield (
                f"event {told.event_id} was acknowledged at {'/'.join(place)}, and is neither in the history "
                "nor among the rejections, nor does it wait to be read"
            )
    for (place, _), count in refused.items():
        if count > 1:
            yield f"the record at {'/'.join(place)} was refused {count} times"


def _waiting(log: Log) -> set[tuple[str, str]]:
    """Topic and id of each record that no step has passed."""
    return {
        (record.topic, record.id)
        for record in log.records
        if record.topic not in (HISTORY, REJECTIONS)
        and record.offset >= log.passed.get((record.topic, record.partition), 0)
    }


def _refused_place(headers: Mapping[str, bytes]) -> tuple[str, str, str]:
    topic, partition, offset = (_text(headers, f"source_{part}") for part in ("topic", "partition", "offset"))
    return topic, partition, offset


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return headers.get(name, b"").decode("utf-8", "replace")
