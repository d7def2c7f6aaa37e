"""Records that travel with the notification of their commit, so that whoever follows need not read them.

A notification says what has been written behind one another in one place: `OFFSET TIME COUNT TYPES`, and below
that line the records themselves where they fit. OFFSET is that of the first; TIME is when the log took them, in
microseconds since 1970; TYPES are those of their events that are told apart, with commas between them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from events.catalogue import event_name
from events.log.port import NewRecord, Place, StoredRecord
from events.log.postgres.rows import headers_in, headers_text

LONGEST_BYTES = 7_800
"""Of what is sent at once: the server takes 8,000 bytes, and puts offset and time before it."""
MOST_CHUNKS = 16
"""What is larger is read: the server keeps the notifications for all its databases in one queue."""
_RECORD, _FIELD = "\x1e", "\x1f"
_NEVER_IN_JSON = (b"\x00", b"\x1e", b"\x1f")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TELL = """SELECT count(pg_notify(channel, (start + distance)::text
        || ' ' || (extract(epoch FROM recorded_at) * 1000000)::bigint
        || ' ' || about || CASE WHEN pg_notification_queue_usage() < 0.1 THEN body ELSE '' END))"""
"""Beginning of a query over chunks that tells of them, where the first record written has the offset `start`.

Of a listener that has stopped, and is not gone, the server keeps all that it has not taken. Were that to fill the
queue, nothing could be written any more; so long before that the records themselves are left out.
"""


@dataclass(frozen=True, slots=True)
class Channels:
    """Names of channels that only those know who may read the log: in Postgres everybody may notify on any."""

    prefix: str

    def of(self, place: Place) -> str:
        """The channel of a place."""
        return f"{self.prefix}{place.topic}.{place.partition}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that follow one another, `distance` behind the first of what is written, as TELL takes them."""

    distance: int
    about: str
    body: str = ""


def chunks(records: Sequence[NewRecord], *, tells_types: bool = False) -> list[Chunk]:
    """All that is to be said of records that are written behind one another in one place.

    Types are told of records of ours alone; those of others may be anything.
    """
    types = [_type_of(record) if tells_types else "" for record in records]
    found = list(_chunks(list(zip(types, map(_text_of, records), strict=True))))
    return [Chunk(0, _about(sorted(set(types)), len(records)))] if len(found) > MOST_CHUNKS else found


def _chunks(records: Sequence[tuple[str, str | None]]) -> Iterator[Chunk]:
    """As many records in each as fit; one that cannot be sent is a chunk of its own, without its body."""
    distance, types, texts, size = 0, list[str](), list[str](), 0
    for number, (kind, text) in enumerate(records):
        more = len(kind) + len(text or "") + 2
        if texts and (text is None or size + more > LONGEST_BYTES):
            yield Chunk(distance, _about(types, len(texts)), _body(texts))
            distance, types, texts, size = number, [], [], 0
        if text is None:
            yield Chunk(number, _about([kind], 1))
            distance = number + 1
        else:
            types.append(kind)
            texts.append(text)
            size += more
    if texts:
        yield Chunk(distance, _about(types, len(texts)), _body(texts))


def _about(types: Iterable[str], count: int) -> str:
    return f"{count} {','.join(types)}"


def _body(texts: Iterable[str]) -> str:
    return "\n" + _RECORD.join(texts)


def _type_of(record: NewRecord) -> str:
    kind = record.headers.get("type")
    return "" if kind is None else event_name(kind.decode("ascii", "replace"))


def _text_of(record: NewRecord) -> str | None:
    """The record as text, unless it is too long, or the server could not take it as it is: no more than ASCII is
    the same in every database, and a foreign writer's bytes may be anything.
    """
    key = record.key.encode()
    size = len(key) + len(record.value)
    if size > LONGEST_BYTES or not _is_plain(key) or not _is_plain(record.value):
        return None
    text = _FIELD.join((record.key, headers_text(record.headers), record.value.decode("ascii")))
    return text if len(text) <= LONGEST_BYTES - 100 and text.isascii() else None


def _is_plain(value: bytes) -> bool:
    return value.isascii() and not any(mark in value for mark in _NEVER_IN_JSON)


@dataclass(frozen=True, slots=True)
class Pushed:
    """A notification: `count` records from offset `start` on. Without a `body` they have to be read."""

    start: int
    recorded_at: datetime
    count: int
    types: frozenset[str]
    body: str

    @property
    def end(self) -> int:
        """The offset behind the last of them."""
        return self.start + self.count

    def records(self, place: Place, start: int) -> list[StoredRecord]:
        """Those of them from this offset on."""
        found = enumerate(self.body.split(_RECORD), self.start)
        return [self._record(place, offset, text) for offset, text in found if offset >= start]

    def _record(self, place: Place, offset: int, text: str) -> StoredRecord:
        key, headers, value = text.split(_FIELD, 2)
        return StoredRecord(
            topic=place.topic,
            partition=place.partition,
            offset=offset,
            key=key,
            value=value.encode("ascii"),
            headers=headers_in(headers),
            recorded_at=self.recorded_at,
        )


def heard(payload: str) -> Pushed:
    """What a notification says."""
    about, _, body = payload.partition("\n")
    start, recorded, count, types = about.split(" ", 3)
    recorded_at = _EPOCH + timedelta(microseconds=int(recorded))
    return Pushed(int(start), recorded_at, int(count), frozenset(types.split(",")), body)
