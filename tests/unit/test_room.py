"""Room for new work: asked for now and then, told in words, and waited for by those who have something to keep."""

import asyncio
import errno
import threading
from pathlib import Path
from time import monotonic

import pytest

from events.families.base import ArtifactRef
from services import room as module
from services.retrying import Backoff
from services.room import LOOK_SECONDS, MEGABYTE, PatientStore, Room, free_bytes, is_full

FULL = OSError(errno.ENOSPC, "No space left on device")


class Disk:
    """Free bytes and a clock, as a test says."""

    def __init__(self) -> None:
        self.free, self.now, self.looks = 0, 0.0, 0

    def room(self, *folders: Path) -> Room:
        return Room(folders, 10 * MEGABYTE, self._look, lambda: self.now)

    def _look(self, _: Path) -> int:
        self.looks += 1
        return self.free


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is made by a thread, which may have to wait for a processor."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 30.0)


@pytest.mark.usefixtures("patience")
async def test_too_little_room_is_told_with_folder_and_numbers_and_over_when_there_is_enough() -> None:
    disk = Disk()
    room = disk.room(Path("/srv/home"))
    disk.free = 3 * MEGABYTE
    assert await room.lack() == "too little room in /srv/home: 3 MB are free, and 10 MB are needed"
    disk.free, disk.now = 10 * MEGABYTE, LOOK_SECONDS
    assert await room.lack() is None


@pytest.mark.usefixtures("patience")
async def test_a_disk_is_not_asked_for_each_piece_of_work() -> None:
    disk = Disk()
    room = disk.room(Path("/srv/home"))
    for _ in range(100):
        await room.lack()
    assert disk.looks == 1


async def test_a_disk_that_does_not_answer_is_a_lack_and_holds_up_nobody_who_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, looks = threading.Event(), []

    def hanging(folder: Path) -> int:
        looks.append(folder)
        answers.wait(60)
        return 20 * MEGABYTE

    room, began = Room((Path("/srv/nfs"),), 10 * MEGABYTE, hanging), monotonic()
    try:
        assert await asyncio.gather(*(room.lack() for _ in range(5))) == [None] * 5, "it may be busy"
        monkeypatch.setattr(module, "HANGING_SECONDS", 0.0)
        said = [await room.lack() for _ in range(200)]
        assert monotonic() - began < 20
        assert set(said) == {"the disks have not said for a while how much is free"}
    finally:
        answers.set()
    async with asyncio.timeout(60):
        while await room.lack() is not None:
            await asyncio.sleep(0.01)
    assert len(looks) == 1


@pytest.mark.usefixtures("patience")
async def test_a_disk_that_answers_with_an_error_is_a_lack() -> None:
    def stale(_: Path) -> int:
        raise OSError(errno.ESTALE, "Stale file handle")

    room = Room((Path("/srv/nfs"),), 10 * MEGABYTE, stale)
    assert await room.lack() == f"/srv/nfs does not say how much is free: [Errno {errno.ESTALE}] Stale file handle"


async def test_with_no_least_there_is_always_room() -> None:
    assert await Room((Path("/"),), 0, lambda _: 0).lack() is None


def test_the_room_for_a_folder_that_is_still_to_be_made_is_that_of_the_folder_above(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there") > 0


def test_a_full_disk_is_known_by_its_error_also_where_that_is_the_cause_of_another() -> None:
    other = RuntimeError("cannot write")
    other.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert is_full(FULL)
    assert is_full(other)
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_full(None)


class Store:
    """An artifact store whose disk is full for the first calls."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.kept: list[bytes] = []

    async def _write(self, data: bytes) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.kept.append(data)

    async def put(self, data: bytes) -> ArtifactRef:
        await self._write(data)
        return ArtifactRef(digest="sha256:" + "0" * 64, size_bytes=len(data))

    async def create(self, name: str, data: bytes) -> bool:
        await self._write(data)
        return True

    get = read = replace = list = delete = put


async def test_what_has_to_be_kept_waits_for_room_and_is_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Backoff", lambda: Backoff(0.001, 0.001))
    store = Store(FULL, FULL, FULL)
    assert (await PatientStore(store).put(b"patch")).size_bytes == 5
    store.errors = [FULL]
    assert await PatientStore(store).create("answer", b"built")
    assert store.kept == [b"patch", b"built"]


async def test_another_fault_of_the_store_is_not_waited_for() -> None:
    store = Store(PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(PermissionError):
        await PatientStore(store).put(b"patch")
