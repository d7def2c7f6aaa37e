"""Records as text in a notification, and back."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.catalogue import Topic
from events.log.port import NewRecord, Place, StoredRecord
from events.log.postgres.inbox import MOST_WAITING, Inbox
from events.log.postgres.pushing import MOST_CHUNKS, Channels, Chunk, Pushed, chunks

PLACE = Place(Topic.EVENTS, 3)
NOW = datetime(2026, 3, 1, 12, 0, 0, 123_457, UTC)
MOST_PAYLOAD_BYTES = 7_999
"""What Postgres takes in one notification."""

SECRET = "0123456789abcdef" * 4
CHANNELS = Channels(SECRET)

TYPES = st.binary(max_size=100) | st.sampled_from(
    [b"autopack.A\nB.v1", b"autopack.A,B.v1", b"autopack.%s.v1" % (b"A" * 9_000)]
)
HEADERS = st.dictionaries(st.sampled_from(["commands", "reason"]), st.binary(max_size=60)) | st.fixed_dictionaries(
    {"type": TYPES}
)
PLAIN = st.builds(
    NewRecord,
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    st.integers(0, 9_000).map(lambda length: b'{"a":1}' + b"x" * length),
    HEADERS,
)
ANY = PLAIN | st.builds(NewRecord, st.text(max_size=40), st.binary(max_size=300), HEADERS)


def payload(chunk: Chunk, start: int = 10**18, key: str = SECRET[16:]) -> str:
    """As the server puts it together."""
    micros = (NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    text = f"{start + chunk.distance} {micros} {chunk.about}{chunk.body}"
    raw = bytes.fromhex(key)
    inner = sha256(raw + CHANNELS.of(PLACE).encode() + text.encode()).digest()
    return f"{sha256(raw + inner).hexdigest()} {text}"


def heard(signed: str) -> Pushed:
    pushed = CHANNELS.heard(CHANNELS.of(PLACE), signed)
    assert pushed is not None
    return pushed


def stored(record: NewRecord, offset: int) -> StoredRecord:
    return StoredRecord(*(PLACE.topic, PLACE.partition, offset), record.key, record.value, record.headers, NOW)


@given(st.lists(ANY, max_size=40), st.booleans())
def test_all_that_is_written_is_told_once_and_in_order_and_what_is_sent_comes_as_it_was(
    records: list[NewRecord], tells_types: bool
) -> None:
    told = [heard(payload(chunk)) for chunk in chunks(records, tells_types=tells_types)]
    offsets = [offset for pushed in told for offset in range(pushed.start, pushed.end)]
    assert offsets == list(range(10**18, 10**18 + len(records)))
    for pushed in told:
        if pushed.body:
            own = records[pushed.start - 10**18 : pushed.end - 10**18]
            expected = [stored(record, offset) for offset, record in enumerate(own, pushed.start)]
            assert pushed.records(PLACE, 0) == expected
            assert pushed.records(PLACE, pushed.start + 1) == expected[1:]


@given(st.lists(ANY, max_size=80), st.booleans())
def test_the_server_can_take_every_notification(records: list[NewRecord], tells_types: bool) -> None:
    told = [payload(chunk) for chunk in chunks(records, tells_types=tells_types)]
    assert all(len(text.encode()) <= MOST_PAYLOAD_BYTES and "\0" not in text for text in told)


def test_small_records_are_sent_together_and_large_ones_told_of() -> None:
    small, large = NewRecord("shop", b"{}"), NewRecord("shop", b"x" * 8_000)
    told = [heard(payload(chunk, 0)) for chunk in chunks([small, small, large, small])]
    assert [(pushed.start, pushed.end, bool(pushed.body)) for pushed in told] == [
        (0, 2, True),
        (2, 3, False),
        (3, 4, True),
    ]


def test_more_than_should_go_through_the_server_is_told_of_alone() -> None:
    kinds = [b"autopack.PhaseStarted.v1", b"autopack.BuildRequested.v1"]
    records = [NewRecord("shop", b"x" * 7_000, {"type": kinds[n % 2]}) for n in range(MOST_CHUNKS + 1)]
    (chunk,) = chunks(records, tells_types=True)
    pushed = heard(payload(chunk, 5))
    assert (pushed.start, pushed.end, pushed.body) == (5, 5 + len(records), "")
    assert pushed.types == {"PhaseStarted", "BuildRequested"}


@pytest.mark.parametrize("value", ["ä".encode(), b"\xff", b"\x00", b"a\x1eb", b"a\x1fb"])
def test_what_the_server_or_we_could_take_for_something_else_is_not_sent(value: bytes) -> None:
    for record in (NewRecord("shop", value), NewRecord(value.decode("latin-1"), b"{}")):
        assert [chunk.body for chunk in chunks([record])] == [""]


def test_what_is_not_signed_for_its_channel_by_who_may_write_is_not_heard() -> None:
    (chunk,) = chunks([NewRecord("shop", b"{}")])
    own, other = CHANNELS.of(PLACE), CHANNELS.of(Place(Topic.EVENTS, 4))
    good = payload(chunk)
    assert CHANNELS.heard(own, good) is not None
    for channel, signed in (
        (own, payload(chunk, key="ab" * 24)),
        (own, good + " "),
        (own, good.partition(" ")[2]),
        (own, ""),
        (own, "ä"),
        (other, good),
    ):
        assert CHANNELS.heard(channel, signed) is None


class Follower:
    """An inbox, and how often it woke its owner."""

    def __init__(self, *prompt: str) -> None:
        self.woken = 0
        self.prompt = set(prompt)
        self.inbox = Inbox(PLACE, 10, self.prompt or None, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def bring(self, start: int, end: int, kind: str = "PhaseStarted", *, with_body: bool = True) -> None:
        body = "\x1e".join(f"shop\x1f{{}}\x1f{offset}" for offset in range(start, end)) if with_body else ""
        self.inbox.bring(Pushed(start, NOW, end - start, frozenset([kind]), body))

    def taken(self) -> list[int]:
        found = self.inbox.take()
        assert [record.value.decode() for record in found] == [str(record.offset) for record in found]
        return [record.offset for record in found]


def test_what_was_brought_comes_once_and_in_order() -> None:
    follower = Follower()
    for start, end in ((8, 10), (8, 12), (11, 12), (12, 13), (12, 14)):
        follower.bring(start, end)
    assert (follower.taken(), follower.inbox.position, follower.inbox.lags) == ([10, 11, 12, 13], 14, False)
    assert follower.taken() == []


@pytest.mark.parametrize("with_body", [True, False])
def test_what_does_not_join_on_has_to_be_read(with_body: bool) -> None:
    follower = Follower()
    follower.bring(10, 11)
    follower.bring(11 if not with_body else 12, 13, with_body=with_body)
    follower.bring(13, 14)
    assert (follower.taken(), follower.inbox.position, follower.inbox.lags) == ([10], 11, True)
    follower.inbox.move_to(14)
    assert (follower.taken(), follower.inbox.lags) == ([], False)


def test_what_has_been_read_meanwhile_is_not_brought_again() -> None:
    follower = Follower()
    follower.bring(10, 12)
    follower.bring(12, 15)
    follower.inbox.move_to(13)
    assert (follower.taken(), follower.inbox.position, follower.inbox.lags) == ([13, 14], 15, False)


def test_who_waits_for_one_event_is_not_woken_by_others_until_they_are_many() -> None:
    follower = Follower("BuildRequested")
    follower.bring(10, 11, "PhaseStarted")
    assert follower.woken == 0
    follower.bring(11, 12, "BuildRequested")
    assert (follower.woken, follower.taken()) == (1, [10, 11])
    for offset in range(12, 12 + MOST_WAITING):
        assert follower.woken == 1
        follower.bring(offset, offset + 1, "PhaseStarted")
    assert (follower.woken, len(follower.taken())) == (2, MOST_WAITING)


def test_what_may_be_any_event_wakes_everybody() -> None:
    follower = Follower("BuildRequested")
    follower.bring(10, 11, "")
    assert (follower.woken, follower.taken()) == (1, [10])


def test_what_wakes_may_change_while_it_is_waited_for() -> None:
    follower = Follower("BuildRequested")
    follower.bring(10, 11, "WorkStarted")
    assert follower.woken == 0
    follower.prompt.add("WorkStarted")
    follower.bring(11, 12, "WorkStarted")
    assert follower.woken == 1
    follower.prompt.discard("WorkStarted")
    follower.bring(12, 13, "WorkStarted")
    assert follower.woken == 1
    assert follower.taken() == [10, 11, 12]
