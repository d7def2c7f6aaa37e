"""Reading records whose headers have names that are not UTF-8, which the library alone cannot.

A header's name is UTF-8, says Kafka's protocol, and no broker looks at it. The library decodes names strictly
in the midst of reading a batch: with one such record, which anybody may write, nobody could read its partition
on, ever.
"""

from collections.abc import Iterator
from typing import Any, SupportsIndex

from aiokafka.consumer import fetcher
from aiokafka.record import memory_records
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy


def read_any_names() -> None:
    """Have the library read batches leniently, in the whole process.

    What was fetched is cut into batches by the library's code in Python, since the compiled one takes no other
    reader of batches than its own. That is little work; the reading of records stays compiled.
    """
    memory_records.DefaultRecordBatch = LenientBatch
    fetcher.MemoryRecords = memory_records._MemoryRecordsPy


class LenientBatch:
    """A batch as the library reads it, but for undecodable bytes in names, which are replaced."""

    def __init__(self, buffer: memoryview) -> None:
        self._bytes = bytes(buffer)
        self._batch = DefaultRecordBatch(self._bytes)

    def __getattr__(self, name: str) -> Any:
        """All that is not its records: offsets, producer, checksum."""
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        """The next record; the library asks control batches for it."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """The records."""
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            return iter(_ReplacingBatch(self._bytes))


class _ReplacingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # final by its annotation alone
    """The library's slower reader, in Python, on bytes that decode leniently. Nothing else in it decodes."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _LenientBytes(self._buffer)


class _LenientBytes(bytearray):
    """Bytes whose slices never fail to be text."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        found = super().__getitem__(index)
        return _LenientBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text, undecodable bytes replaced whatever is asked for."""
        return super().decode(encoding, "replace")
