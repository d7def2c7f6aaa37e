"""How large a binary patch becomes: a few bytes of one can unpack to gigabytes, but it says so beforehand.

A hunk begins with `literal SIZE` or `delta SIZE`, below it lie base85 lines of a zlib stream. Of a delta SIZE is
its own; it begins with two more sizes, that of what it is applied to and that of the result (gitformat-pack(5)).
Git reads the numbers as strtoul(3) does, and so do we: blanks and a sign before them, whatever after them.
"""

import re
import zlib
from base64 import b85decode

from services.git.failures import PatchTooLarge

_HUNK = re.compile(rb"^(literal|delta) \s*\+?(\d+)[^\n]*\n?", re.MULTILINE)
_HEAD_BYTES = 20
_LARGEST_NUMBER_BYTES = 9
_MOST_DIGITS = 19


def unpacked_bytes(patch: bytes) -> int:
    """The bytes that all binary hunks of a patch unpack to; raises PatchTooLarge where that cannot be told."""
    return sum(
        _said_bytes(hunk[2]) + (_result_bytes(patch, hunk.end()) if hunk[1] == b"delta" else 0)
        for hunk in _HUNK.finditer(patch)
    )


def _said_bytes(digits: bytes) -> int:
    """A size as it is written. Git has no word for one of twenty digits, and Python reads none of thousands."""
    if len(digits.lstrip(b"0")) > _MOST_DIGITS:
        raise PatchTooLarge("It holds a size of more than nineteen digits.")
    return int(digits.lstrip(b"0") or b"0")


def _result_bytes(patch: bytes, start: int) -> int:
    try:
        head = _inflated_head(patch, start)
        _, rest = _number(head)
        return _number(rest)[0]
    except (ValueError, zlib.error) as error:
        raise PatchTooLarge("It holds a delta that does not say to how much.") from error


def _inflated_head(patch: bytes, start: int) -> bytes:
    """The first bytes of what the lines hold; a stream may put nothing into any number of them."""
    stream, head = zlib.decompressobj(), b""
    while len(head) < _HEAD_BYTES and not stream.eof:
        end = patch.find(b"\n", start)
        line = patch[start:end]
        if end < 0 or not line:
            break
        head += stream.decompress(b85decode(line[1:])[: _line_bytes(line[0])], _HEAD_BYTES - len(head))
        start = end + 1
    return head


def _line_bytes(letter: int) -> int:
    """The length of a line: A to Z for 1 to 26 bytes, a to z for 27 to 52."""
    return letter - ord("A") + 1 if letter <= ord("Z") else letter - ord("a") + 27


def _number(data: bytes) -> tuple[int, bytes]:
    """A number of seven bits a byte, the lowest first; the highest bit of a byte says that another one follows."""
    value = 0
    for position, byte in enumerate(data[:_LARGEST_NUMBER_BYTES]):
        value |= (byte & 0x7F) << 7 * position
        if not byte & 0x80:
            return value, data[position + 1 :]
    raise ValueError("no end of a number")
