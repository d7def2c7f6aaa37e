import itertools

import pytest

from services.processes import Redactor


def redacted(secrets: list[str], chunks: list[bytes]) -> bytes:
    redactor = Redactor(secrets)
    return b"".join([*(redactor.feed(chunk) for chunk in chunks), redactor.flush()])


def splits(text: bytes) -> list[list[bytes]]:
    """Every way of cutting a text into at most three chunks."""
    cuts = itertools.combinations_with_replacement(range(len(text) + 1), 2)
    return [[text[:first], text[first:second], text[second:]] for first, second in cuts]


@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        (["hunter22"], b"key hunter22.", b"key [redacted]."),
        (["abcd", "abcdefgh"], b"abcdefgh abcd abcdef", b"[redacted] [redacted] [redacted]ef"),
        (["abab"], b"abababab abab", b"[redacted][redacted] [redacted]"),
        (["xyxyx"], b"-xyxyx-xyxy", b"-[redacted]-xyxy"),
        (["first-line\nsecond-line"], b"> second-line\n> first-line", b"> [redacted]\n> [redacted]"),
    ],
)
def test_a_secret_is_replaced_wherever_the_stream_is_cut(secrets: list[str], text: bytes, expected: bytes):
    assert {redacted(secrets, chunks) for chunks in splits(text)} == {expected}


def test_a_value_of_three_letters_is_no_secret():
    assert redacted(["abc"], [b"abc"]) == b"abc"


def test_what_cannot_begin_a_secret_is_not_held_back():
    redactor = Redactor(["hunter22"])
    assert redactor.feed(b"plain line\n") == b"plain line\n"
    assert redactor.feed(b"hun") == b""
    assert redactor.feed(b"gry") == b"hungry"
