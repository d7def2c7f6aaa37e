"""Secrets taken out of a stream of bytes, also where one is split over two chunks."""

import re
from collections.abc import Iterable

REDACTED = b"[redacted]"
SHORTEST_SECRET_BYTES = 4
SHORTEST_SECRET_LINE_BYTES = 8


class Redactor:
    """Replaces the given secrets in one stream. Values under four bytes are no secrets and are left.

    The lines of a secret of several lines (a private key) are secrets of their own, because programs print
    such values line by line.
    """

    def __init__(self, secrets: Iterable[str] = ()):
        self._secrets = _expanded(secrets)
        self._pattern = re.compile(b"|".join(re.escape(secret) for secret in self._secrets))
        self._longest = max((len(secret) for secret in self._secrets), default=0)
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Give what is certain to hold no part of a secret; the rest is held for the next chunk."""
        if not self._secrets:
            return chunk
        text = self._held + chunk
        cut = self._certain_length(text)
        self._held = text[cut:]
        return self._replaced(text[:cut])

    def flush(self) -> bytes:
        """Give what was held; the stream has ended."""
        rest, self._held = self._held, b""
        return self._replaced(rest)

    def _replaced(self, text: bytes) -> bytes:
        # The plain search is many times faster than the pattern, and nearly every chunk is clean.
        if not any(secret in text for secret in self._secrets):
            return text
        return self._pattern.sub(REDACTED, text)

    def _certain_length(self, text: bytes) -> int:
        """Find where the first thing begins that may be a secret whose end has not come yet."""
        starts = range(max(0, len(text) - self._longest + 1), len(text))
        open_ends = [start for start in starts if self._may_go_on(text[start:])]
        if not open_ends:
            return len(text)
        whole = [match.span() for match in self._pattern.finditer(text)]
        for start in open_ends:
            if not any(begin < start < end for begin, end in whole):
                return start
        return len(text)

    def _may_go_on(self, suffix: bytes) -> bool:
        return any(len(secret) > len(suffix) and secret.startswith(suffix) for secret in self._secrets)


def _expanded(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """Add the lines of long secrets; the longest come first, so that none hides behind its own beginning."""
    values: set[bytes] = set()
    for secret in secrets:
        whole = secret.encode(errors="surrogateescape")
        values.add(whole)
        values.update(line for line in whole.split(b"\n") if len(line) >= SHORTEST_SECRET_LINE_BYTES)
    kept = (value for value in values if len(value) >= SHORTEST_SECRET_BYTES)
    return tuple(sorted(kept, key=lambda value: (-len(value), value)))
