"""Records that travel with the notification of their commit, so that whoever follows need not read them.

A notification says what has been written behind one another in one place: `SIGNATURE OFFSET TIME COUNT TYPES`,
and below that line the records themselves where they fit. OFFSET is that of the first; TIME is when the log took
them, in microseconds since 1970; TYPES are those of their events, with commas between them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from events.catalogue import event_name
from events.log.port import NewRecord, Place, StoredRecord
from events.log.postgres.rows import headers_in, headers_text

LONGEST_BYTES = 7_750
"""Of what is sent at once: the server takes 8,000 bytes, and puts signature, offset and time before it."""
MOST_CHUNKS = 16
"""What is larger is read: the server keeps the notifications for all its databases in one queue."""
_RECORD, _FIELD = "\x1e", "\x1f"
_NEVER_IN_JSON = (b"\x00", b"\x1e", b"\x1f")
_NAME = re.compile("[A-Za-z0-9]{1,60}")
UNKNOWN = ""
"""The type of what may be any event."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TELL = """(
    SELECT count(pg_notify(channel,
        encode(sha256(key || sha256(key || convert_to(channel || payload, 'UTF8'))), 'hex') || ' ' || payload))
    FROM (SELECT decode(right(secret, 48), 'hex') AS key FROM autopack_log.settings) AS known,
        (SELECT channel, (start + distance)::text
            || ' ' || (extract(epoch FROM recorded_at) * 1000000)::bigint
            || ' ' || about || CASE WHEN pg_notification_queue_usage() < 0.1 THEN body ELSE '' END AS payload
        FROM {chunks} OFFSET 0) AS told
    WHERE pg_notification_queue_usage() < 0.5)"""


def tell(chunks: str) -> str:
    """As an expression of SQL: tell of these chunks, where what was written begins at `start`.

    Of a listener that has stopped, and is not gone, the server keeps all that it has not taken, and anybody in any
    of its databases may fill its queue. When that is full, whoever notifies cannot commit. So long before that the
    records themselves are left out, and then the notification: tails look by themselves.
    """
    return _TELL.format(chunks=chunks)


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of a log, by its `secret` of 64 hexadecimal digits.

    In Postgres everybody may notify on any channel, and hear any whose name is known. So the names are not to be
    guessed, and what comes on them counts if it was signed by somebody who may write the log.
    """

    secret: str

    def of(self, place: Place) -> str:
        """The name of the channel of a place."""
        return f"autopack_log.{self.secret[:16]}.{place.topic}.{place.partition}"

    def heard(self, channel: str, signed: str) -> "Pushed | None":
        """What a notification says, if it is one of ours."""
        signature, _, payload = signed.partition(" ")
        key, said = bytes.fromhex(self.secret[-48:]), f"{channel}{payload}".encode()
        expected = sha256(key + sha256(key + said).digest()).hexdigest()
        return _pushed(payload) if compare_digest(signature.encode(), expected.encode()) else None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records that follow one another, `distance` behind the first of what is written, as `tell` takes them."""

    distance: int
    about: str
    body: str = ""


def chunks(records: Sequence[NewRecord], *, tells_types: bool = False) -> list[Chunk]:
    """All that is to be said of records that are written behind one another in one place.

    Types are told of records of ours alone; those of others may be anything.
    """
    types = [_type_of(record) if tells_types else UNKNOWN for record in records]
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
    kind = event_name(record.headers.get("type", b"").decode("ascii", "replace"))
    return kind if _NAME.fullmatch(kind) else UNKNOWN


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


def _pushed(payload: str) -> Pushed:
    about, _, body = payload.partition("\n")
    start, recorded, count, types = about.split(" ", 3)
    recorded_at = _EPOCH + timedelta(microseconds=int(recorded))
    return Pushed(int(start), recorded_at, int(count), frozenset(types.split(",")), body)
