"""What a service says of itself, and what its log hears of that."""

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.status import NOT_KNOWN_YET, ServiceStatus


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


def told(heard: list[Any]) -> list[tuple[str, str | None]]:
    return [(entry["event"], entry.get("trouble")) for entry in heard]


def test_the_log_hears_once_when_a_service_is_ready_and_when_it_no_longer_is(heard: list[Any]) -> None:
    status = ServiceStatus("builder")
    for _ in range(2):
        status.ready(url="here")
    for trouble in ("no server", "no server still"):
        status.unavailable(trouble)
    status.ready()
    assert told(heard) == [("ready", None), ("not ready", "no server"), ("ready", None)]


def test_the_log_hears_of_what_others_know_as_of_what_the_service_says_itself(heard: list[Any]) -> None:
    status = ServiceStatus("builder")
    status.ready()
    status.hinder("room", "the disk is full")
    status.hinder("files", "cannot be written")
    status.unhinder("room")
    assert (status.trouble, status.trouble_but_for("files")) == ("cannot be written", None)
    status.unhinder("files")
    status.unhinder("files")
    assert told(heard) == [("ready", None), ("not ready", "the disk is full"), ("ready", None)]


def test_what_is_not_known_yet_is_not_told_and_what_turns_out_to_be_in_the_way_is(heard: list[Any]) -> None:
    status = ServiceStatus("api")
    status.hinder("use", NOT_KNOWN_YET)
    status.ready()
    assert told(heard) == []
    status.hinder("use", "no database")
    status.hinder("use", "no database still")
    status.unhinder("use")
    assert told(heard) == [("not ready", "no database"), ("ready", None)]


def test_a_service_that_was_never_ready_says_what_it_waits_for(heard: list[Any]) -> None:
    status = ServiceStatus("builder")
    status.unavailable("no log")
    assert told(heard) == [("not ready", "no log")]


def test_what_all_services_wait_for_is_told_once_by_whoever_waits(heard: list[Any]) -> None:
    status = ServiceStatus("builder")
    status.hinder("the log", "waiting for the log", is_told_elsewhere=True)
    status.hinder("the log", "waiting for the log: refused", is_told_elsewhere=True)
    assert (told(heard), status.trouble) == ([], "waiting for the log: refused")
    status.unhinder("the log")
    status.ready()
    assert told(heard) == [("ready", None)]
