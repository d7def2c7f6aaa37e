"""Batches of records with names that are not UTF-8, packed in every way that the library can read."""

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from events.log.kafka.names import LenientBatch

NOT_COMPRESSED, GZIP = 0, 1


def batch(compression: int, name: bytes, count: int = 3) -> bytes:
    stand_in = b"~" * len(name)
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, 7, 1, 0, 1_000_000)
    for number in range(count):
        builder.append(number, 5, b"key", b"\xff" * 500, [(stand_in.decode(), b"\xff"), ("none", None)])
    builder._buffer = builder._buffer.replace(stand_in, name)
    return bytes(builder.build())


@pytest.mark.parametrize("compression", [NOT_COMPRESSED, GZIP])
@pytest.mark.parametrize(("name", "read"), [(b"type", "type"), (b"\xc3\xa4", "\u00e4"), (b"a\xffb", "a\ufffdb")])
def test_every_record_of_a_batch_is_read_whatever_its_names_are(compression: int, name: bytes, read: str) -> None:
    found = LenientBatch(memoryview(batch(compression, name)))
    assert found.validate_crc()
    assert (found.compression_type, found.producer_id, found.next_offset) == (compression, 7, 3)
    assert [(r.offset, r.key, r.value) for r in found] == [(n, b"key", b"\xff" * 500) for n in range(3)]
    assert [r.headers for r in LenientBatch(memoryview(batch(compression, name)))] == [
        [(read, b"\xff"), ("none", None)]
    ] * 3
