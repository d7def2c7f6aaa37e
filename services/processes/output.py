"""What is kept of a child's output: its beginning and its end, whatever lies between."""

from collections.abc import Callable
from dataclasses import dataclass

LINES_PER_CHUNK = 20
LONGEST_LINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Captured:
    """One stream, capped: the first and last bytes, and how many there were (`total_bytes`, as printed)."""

    head: bytes = b""
    tail: bytes = b""
    total_bytes: int = 0
    left_out_bytes: int = 0

    @property
    def complete(self) -> bool:
        """Say whether nothing was left out."""
        return self.left_out_bytes == 0

    @property
    def data(self) -> bytes:
        """Give all that was kept, with a line that says what was left out."""
        if self.complete:
            return self.head + self.tail
        return b"%b\n[%d bytes left out]\n%b" % (self.head, self.left_out_bytes, self.tail)

    @property
    def text(self) -> str:
        """Give `data` as text; bytes that are not UTF-8 become replacement characters."""
        return self.data.decode(errors="replace")

    def last_text(self, size_characters: int) -> str:
        """Give the end of the stream, without surrounding blanks."""
        return self.text.strip()[-size_characters:].strip()


NOTHING_CAPTURED = Captured()


class Capture:
    """Takes a stream of any length in constant memory."""

    def __init__(self, cap_bytes: int):
        self._head_room = cap_bytes // 2
        self._tail_room = cap_bytes - self._head_room
        self._head = bytearray()
        self._tail = bytearray()
        self._taken_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Keep what belongs to the beginning or may yet be the end."""
        self._taken_bytes += len(chunk)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if len(chunk) > self._tail_room:
            chunk = chunk[len(chunk) - self._tail_room :]
        self._tail += chunk
        # Trimmed at twice the room only, so that a byte is moved once, not once a chunk.
        if len(self._tail) > 2 * self._tail_room:
            del self._tail[: len(self._tail) - self._tail_room]

    def captured(self, total_bytes: int) -> Captured:
        """Give what was kept. `total_bytes` counts the stream as it came, before secrets were replaced."""
        tail = bytes(self._tail[max(0, len(self._tail) - self._tail_room) :])
        left_out = self._taken_bytes - len(self._head) - len(tail)
        return Captured(bytes(self._head), tail, total_bytes, left_out)


class Lines:
    """Hands out lines as they come, for somebody who watches: the last twenty of a chunk, long ones cut."""

    def __init__(self, on_line: Callable[[str], None]):
        self._on_line = on_line
        self._pending = b""

    def feed(self, chunk: bytes) -> None:
        """Hand out the lines that the chunk completes.

        A flood has millions of lines: handing out each would stop the event loop, and nobody can read them.
        """
        first, *others = chunk.rsplit(b"\n", LINES_PER_CHUNK)
        if not others:
            self._pending = (self._pending + first)[:LONGEST_LINE_BYTES]
            return
        skipped, newline, last = first.rpartition(b"\n")
        self._hand_out(last if newline or skipped else self._pending + first)
        for line in others[:-1]:
            self._hand_out(line)
        self._pending = others[-1][:LONGEST_LINE_BYTES]

    def flush(self) -> None:
        """Hand out the line that the end of the stream completes."""
        rest, self._pending = self._pending, b""
        if rest:
            self._hand_out(rest)

    def _hand_out(self, line: bytes) -> None:
        text = line[:LONGEST_LINE_BYTES].decode(errors="replace").rstrip("\r")
        self._on_line(text.rpartition("\r")[2])
