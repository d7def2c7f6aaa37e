"""What a child reads on its standard input: a file that has no name, and that nobody can change."""

import fcntl
import importlib
import os
import tempfile
from pathlib import Path

import pytest

from services.processes import Command, run, stdin
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


@pytest.fixture
def without_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system that has neither files in memory nor seals, as macOS is; the folder of its temporary files."""
    for name in [name for name in vars(fcntl) if name.startswith("F_SEAL_") or name.endswith("_SEALS")]:
        monkeypatch.delattr(fcntl, name)
    for name in [name for name in vars(os) if name.startswith(("memfd_", "MFD_"))]:
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    importlib.reload(stdin)
    return tmp_path


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 3_000_000])
def test_where_there_are_no_files_in_memory_it_is_a_file_that_has_lost_its_name(
    content: bytes, without_linux: Path
) -> None:
    with input_file(content) as descriptor:
        assert list(without_linux.iterdir()) == []
        assert os.read(descriptor, 4_000_000) == content
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"bye")
        assert os.fstat(descriptor).st_nlink == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_a_child_reads_it_there_as_well(without_linux: Path) -> None:
    done = await run(Command(("cat",), without_linux, {"PATH": os.defpath}, stdin=b"hello\n"))
    assert done.stdout.text == "hello\n"


def test_nothing_of_it_is_left_there_where_the_disk_is_full(
    without_linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError("No space left on device")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"), input_file(b"x"):
        pass
    assert list(without_linux.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)
