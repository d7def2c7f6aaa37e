"""Histories and stores that hold what a command cannot read: told in a line, with exit code 1."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from immutables import Map

from events.families.base import ArtifactRef
from events.history import chain
from services.artifacts import open_artifacts
from services.cli.app import exit_code_of
from services.settings import Settings
from support.scenario import Scenario


class Told(BaseHTTPRequestHandler):
    """A service that knows one run, of these records."""

    records: tuple[bytes, ...] = ()

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if "/events" in self.path:
            self.wfile.write(b"".join(record + b"\n" for record in self.records))
        elif "/output" not in self.path:
            self.wfile.write(json.dumps({"run_id": "run-1", "project": "shop", "status": "alive"}).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing is said."""


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Told]]:
    class Own(Told):
        """Of this test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOPACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUTOPACK_URL", f"http://127.0.0.1:{server.server_port}")
    yield Own
    server.shutdown()
    thread.join()
    server.server_close()


def records_of(scenario: Scenario) -> tuple[bytes, ...]:
    return tuple(record.value for record in chain(Map(), "shop", scenario.history)[0])


@pytest.mark.parametrize("command", ["status", "watch", "report", "events", "diff", "logs", "retry", "promote"])
def test_a_record_that_cannot_be_read_is_told_and_exits_with_1(
    command: str, service: type[Told], capfd: pytest.CaptureFixture[str]
) -> None:
    known = records_of(Scenario().started())
    newer = known[-1].replace(b".v1", b".v9")
    for unread in (newer, b'{"of": "others"}'):
        service.records = (*known[:-1], unread)
        assert exit_code_of([command, "run-1", *(["--to", "main"] if command == "promote" else [])]) == 1
        told = capfd.readouterr().err
        assert "autopack: a record of the history cannot be read: " in told
        assert "Traceback" not in told


async def damaged(settings: Settings) -> ArtifactRef:
    """An artifact whose content is not what its name says any more."""
    reference = await open_artifacts(settings.artifacts_url).put(b"as it was")
    for file in (settings.home_folder / "artifacts").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(b"as it is")
    return reference


async def test_a_damaged_patch_or_log_is_told(service: type[Told], capfd: pytest.CaptureFixture[str]) -> None:
    reference = await damaged(Settings())
    story = Scenario().started()
    story.built(patch=reference, log=reference)
    service.records = records_of(story)
    assert await asyncio.to_thread(exit_code_of, ["diff", "run-1", "P1"]) == 1
    assert "the last patch of P1: The content of the artifact is not what" in capfd.readouterr().err
    assert await asyncio.to_thread(exit_code_of, ["logs", "run-1"]) == 0
    assert "(The content of the artifact is not what" in capfd.readouterr().out
