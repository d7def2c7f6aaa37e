"""What a child reads on its standard input: a file that has no name, and that nobody can change."""

import os
import tempfile
from pathlib import Path

import pytest

from services.processes.stdin import input_file


def read_anew(descriptor: int) -> bytes:
    """As a child reads that opens /dev/stdin."""
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"x" * 3_000_000])
def test_it_is_read_as_often_as_one_likes(content: bytes) -> None:
    with input_file(content) as descriptor:
        assert [read_anew(descriptor) for _ in range(2)] == [content] * 2
        assert os.read(descriptor, 4_000_000) == content
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_nobody_can_change_it() -> None:
    with input_file(b"hello\n") as descriptor:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"bye")
        with pytest.raises(PermissionError):
            os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_TRUNC))
        assert read_anew(descriptor) == b"hello\n"


def test_it_never_has_a_name_that_would_be_left_where_we_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is no such folder"))
    with input_file(b"hello\n") as descriptor:
        assert os.fstat(descriptor).st_nlink == 0
