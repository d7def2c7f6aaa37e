"""The log of a process: where it cannot be written, nobody ends for want of it."""

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from events.families.base import ArtifactRef
from services import room
from services.cli import logging_setup
from services.cli.logging_setup import log_to_home, log_to_stderr
from services.retrying import Backoff
from services.room import PatientStore
from services.settings import Settings

STREAMS = ("a disk that is full", "a reader who is gone", "an encoding that lacks it")


def _opened(which: str) -> TextIO:
    match which:
        case "a disk that is full":
            return open("/dev/full", "w", buffering=1, encoding="utf-8")
        case "a reader who is gone":
            reader, writer = os.pipe()
            os.close(reader)
            return os.fdopen(writer, "w", buffering=1, encoding="utf-8")
        case _:
            return open(os.devnull, "w", buffering=1, encoding="ascii", errors="strict")


@pytest.fixture(params=STREAMS)
def unwritable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The log goes where no line of it can be written."""
    stream = _opened(request.param)
    monkeypatch.setattr(logging_setup.sys, "stderr", stream)
    log_to_stderr(Settings())
    monkeypatch.undo()
    yield
    # Closing writes what is left, which fails as everything did.
    with open(os.devnull, "w") as elsewhere:
        os.dup2(elsewhere.fileno(), stream.fileno())
    stream.close()


@pytest.mark.usefixtures("unwritable")
def test_a_line_that_cannot_be_written_ends_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2000):
        structlog.get_logger("services").warning("für nobody", trouble="größer als der Puffer")
        logging.getLogger("asyncio").error("für nobody")
    assert capfd.readouterr().err == "", "nor does the standard library complain of it"


class _FullOnce:
    """An artifact store whose disk is full for the first call."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self._is_full = True

    async def put(self, data: bytes) -> ArtifactRef:
        if self._is_full:
            self._is_full = False
            raise OSError(errno.ENOSPC, "kein Platz für mehr")
        self.kept.append(data)
        return ArtifactRef(digest="sha256:" + "0" * 64, size_bytes=len(data))

    get = read = replace = list = delete = create = put


@pytest.mark.usefixtures("unwritable")
async def test_what_was_paid_for_is_kept_though_the_log_lies_on_the_disk_that_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "Backoff", lambda: Backoff(0.001, 0.001))
    store = _FullOnce()
    assert (await PatientStore(store).put("Lösung".encode())).size_bytes == 7
    assert store.kept == ["Lösung".encode()]


def test_a_log_that_could_not_be_written_is_written_again_as_soon_as_it_can(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("in the way of the folder")
    file = log_to_home(Settings(home=tmp_path / "other").model_copy(update={"home": home}))
    structlog.get_logger("services").warning("lost")
    home.unlink()
    structlog.get_logger("services").warning("kept")
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line.split()[-1] for line in lines if line.strip()] == ["kept"]


def test_the_log_of_a_home_takes_every_character_in_every_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = log_to_home(Settings(home=tmp_path))
    opened = Path.open
    # As in a locale of Latin-1, which is settled when Python starts.
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **named: opened(path, *given, **{"encoding": "latin-1", **named})
    )
    structlog.get_logger("services").warning("größer → \udcff")
    assert "größer → \\udcff" in file.read_text(encoding="utf-8")
