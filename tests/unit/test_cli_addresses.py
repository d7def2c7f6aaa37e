"""Addresses in messages: what they hold of secrets is not told."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from services.cli.addresses import shown_address
from services.cli.app import exit_code_of
from services.cli.client import Client, connected
from services.cli.doctor import examine
from services.cli.failures import CommandFailure, WrongUsage
from services.settings import Settings

SECRET = "s3cret"
UNQUOTED = (
    "s3cret",
    "a@s3cret",
    "s3cret@b",
    "s3cret/b",
    "b/s3cret",
    "s3cret?b",
    "b?s3cret",
    "s3cret#b",
    "b#s3cret",
)
NUMBERED = ("12/s3cret", "12?s3cret", "12#s3cret", "/s3cret", "?s3cret", "#s3cret")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://bob:s3cret@host", "https://host"),
        ("postgresql://u:p@ss@db/x", "postgresql://db/x"),
        ("postgresql://u:s3/cret@db/x?sslmode=require", "postgresql://db/x"),
        ("postgresql://db/x?user=u&password=p", "postgresql://db/x"),
        ("postgresql://u:p@one:1,two:2/x", "postgresql://one:1,two:2/x"),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x"),
        ("postgresql://db/x?password=p@ss", "postgresql://…"),
        ("postgresql://u:p?w@db/x", "postgresql://…"),
        ("kafka://one:9092,two:9092", "kafka://one:9092,two:9092"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("bob:s3cret@host", "host"),
    ],
)
def test_an_address_shows_without_its_secrets_and_less_where_they_cannot_be_told(address: str, shown: str) -> None:
    assert shown_address(address) == shown


@pytest.mark.parametrize("password", [*UNQUOTED, *NUMBERED])
@pytest.mark.parametrize("scheme", ["https", "postgresql", "kafka"])
def test_no_part_of_a_password_shows(scheme: str, password: str) -> None:
    assert SECRET not in shown_address(f"{scheme}://bob:{password}@host:80/x")


@pytest.mark.parametrize("password", [*UNQUOTED, *NUMBERED])
@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("URL", "http://bob:{}@127.0.0.1:1"),
        ("LOG", "postgresql://bob:{}@127.0.0.1:1/log"),
        ("LOG", "kafka://bob:{}@127.0.0.1:1"),
    ],
)
def test_no_command_prints_a_password(
    name: str, address: str, password: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", _nobody)
    monkeypatch.setenv("AUTOPACK_DATABASE", "postgresql://127.0.0.1:1/tables")
    monkeypatch.setenv(f"AUTOPACK_{name}", address.format(password))
    assert exit_code_of(["projections", "status"] if name == "LOG" else ["status"]) in (2, 3)
    out, err = capfd.readouterr()
    assert SECRET not in out + err
    assert "s3" not in out + err
    assert err


def _nobody(*_: object, **__: object) -> None:
    raise OSError("nobody is asked for names")


def _answering(status: int, content: bytes) -> Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
    return Client(httpx.AsyncClient(base_url="https://bob:s3cret@host", transport=transport))


@pytest.mark.parametrize(("status", "content"), [(200, b"<html>"), (404, b"<html>"), (502, b"<html>")])
async def test_what_a_service_answers_is_told_without_the_password(status: int, content: bytes) -> None:
    client = _answering(status, content)
    with pytest.raises(CommandFailure, match="host") as failed:
        await client.run("r1")
    assert SECRET not in str(failed.value)
    assert client.address == "https://host"


async def test_what_is_no_address_is_told_without_the_password() -> None:
    with pytest.raises(WrongUsage) as refused:
        async with connected("http://bob:s3cret/x@host", None):
            pass
    assert "s3" not in str(refused.value)


async def test_requests_carry_user_and_password_all_the_same() -> None:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connected(f"http://bob:s3cret@127.0.0.1:{port}", None) as client:
            await client.readiness()
            assert client.address == f"http://127.0.0.1:{port}"
    assert b"Basic " + base64.b64encode(b"bob:s3cret") in heard[0]


async def test_doctor_tells_where_a_service_is_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"status": "alive"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await examine(Settings(home=tmp_path, url=f"http://bob:s3cret@127.0.0.1:{port}"))
    told = {finding.name: finding.message for finding in found}
    assert told["service"] == f"ready at http://127.0.0.1:{port}"
    assert SECRET not in str(found)


def test_settings_do_not_show_what_their_addresses_hold() -> None:
    database = "postgresql://bob:s3cret@db/x"
    assert SECRET not in repr(Settings(log=database, database=database, url="https://bob:s3cret@host"))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p%40%2F@db:5432,other/x?sslmode=require&user=me@server",
        "postgresql://db/x?sslmode=require&",
        "postgresql:///x?host=/run/postgresql",
        "postgres://u:p@ss@db",
        "postgresql://[::1]:5432/x",
    ],
)
def test_an_address_that_can_be_meant_is_taken_as_it_is(address: str) -> None:
    assert Settings(log=address, database=address).database == address
