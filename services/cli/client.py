"""The HTTP client of the command line: one for a service at hand, elsewhere, or started in this process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx

from services.cli.addresses import shown_address
from services.cli.failures import ServiceUnreachable, StreamBroken, Unsuccessful, WrongUsage
from services.keepalive import KEEPALIVE

TIMEOUT_SECONDS = 30.0
ANSWER_SECONDS = 10
NDJSON = "application/x-ndjson"


class Refused(WrongUsage):
    """The service says that what was asked for cannot be done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """What commands ask of a service. Raises ServiceUnreachable, and Refused with the service's own words."""

    def __init__(self, http: httpx.AsyncClient, project: str | None = None) -> None:
        self._http = http
        self._project = project

    @property
    def address(self) -> str:
        """Where the service is, for messages: without what it may hold of secrets."""
        return shown_address(str(self._http.base_url))

    def of_project(self, project: str | None) -> "Client":
        """The same client, asking of one project."""
        return Client(self._http, project)

    async def is_alive(self) -> bool:
        """Whether anything like a service answers there."""
        try:
            answer = await self._http.get("/health/live")
            return answer.is_success and bool(answer.json()["status"] == "alive")
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False

    async def readiness(self) -> dict[str, Any]:
        """What the service says of itself, ready or not."""
        answer = await self._sent("GET", "/health/ready", accept=(503,))
        return _object(answer)

    async def start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a run; returns once it is known what became of the request."""
        answer = await self._sent(
            "POST", "/runs/start", json=request, headers={"Prefer": f"wait={ANSWER_SECONDS}"}
        )
        return _object(answer)

    async def cancel(self, run_id: str, reason: str) -> dict[str, Any]:
        """Ask for a run to be cancelled."""
        return _object(
            await self._sent("POST", self._run(run_id, "/cancel"), json={"reason": reason}, params=self._query())
        )

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run with its tiers and phases."""
        return _object(await self._sent("GET", self._run(run_id), params=self._query()))

    async def runs(self, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """A page of runs, the newest first; `next` is the cursor of the one behind."""
        return _object(await self._sent("GET", "/runs", params=self._query(limit=limit, cursor=cursor)))

    async def summary(self, run_id: str) -> dict[str, Any]:
        """The report on a run."""
        path = f"/reports/run_summary/{quote(run_id, safe='')}"
        return _object(await self._sent("GET", path, params=self._query()))

    async def records(self, run_id: str, after: int = -1, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The exact records of a run's history behind a sequence; with `follow` until the run has ended."""
        query = self._query(after=after, follow=str(follow).lower())
        async for line in self._lines(self._run(run_id, "/events"), query):
            yield line

    async def records_left(self, run_id: str) -> AsyncIterator[bytes]:
        """The exact records of a run's history that the log still has."""
        async for line in self._lines(self._run(run_id, "/events"), self._query(holes="true")):
            yield line

    async def output(self, run_id: str) -> AsyncIterator[bytes]:
        """What agents and checks of a run write from now on, one JSON object a batch of lines."""
        async for line in self._lines(self._run(run_id, "/output"), self._query(follow="true")):
            yield line

    async def _lines(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[bytes]:
        timeout = httpx.Timeout(TIMEOUT_SECONDS, read=None)
        has_begun = False
        try:
            async with self._http.stream(
                "GET", path, params=query, headers={"Accept": NDJSON}, timeout=timeout
            ) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _refusal(answer)
                has_begun = True
                async for line in _split(answer.aiter_bytes()):
                    yield line
        except httpx.HTTPError as error:
            if has_begun:
                raise StreamBroken(f"the service at {self.address} broke off: {_said(error)}") from error
            raise _unreachable(self.address, error) from error

    async def _sent(self, method: str, path: str, accept: tuple[int, ...] = (), **options: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise _unreachable(self.address, error) from error
        if answer.is_success or answer.status_code in accept:
            return answer
        raise _refusal(answer)

    def _run(self, run_id: str, rest: str = "") -> str:
        return f"/runs/{quote(run_id, safe='')}{rest}"

    def _query(self, **given: Any) -> dict[str, Any]:
        return {name: value for name, value in {"project": self._project, **given}.items() if value is not None}


@asynccontextmanager
async def connected(url: str, token: str | None) -> AsyncIterator[Client]:
    """A client of the service at an address."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        transport = httpx.AsyncHTTPTransport(trust_env=False, socket_options=KEEPALIVE)
        http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise WrongUsage(f"{shown_address(url)!r} is no address of a service") from error
    async with http:
        yield Client(http)


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines as they come. Only a line feed ends one: JSON holds other separators as they are."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
    if rest:
        yield rest


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError as error:
        raise Unsuccessful(f"{_place_of(answer)} answers what is no JSON") from error
    return body if isinstance(body, dict) else {"items": body}


def _place_of(answer: httpx.Response) -> str:
    return shown_address(str(answer.url))


def _unreachable(address: str, error: httpx.HTTPError) -> ServiceUnreachable:
    return ServiceUnreachable(f"no service answers at {address}: {_said(error)}")


def _said(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _refusal(answer: httpx.Response) -> Refused | ServiceUnreachable:
    """The service's words as an error: a 5xx is the service's own trouble."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    message = _words(problem) or f"{answer.request.method} {_place_of(answer)}: {answer.status_code}"
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return ServiceUnreachable(f"the service at {answer.url.host} is in trouble: {message}")
    return Refused(answer.status_code, message)


def _words(problem: Any) -> str:
    """A problem's detail, and every fault that it lists."""
    if not isinstance(problem, dict):
        return ""
    detail, faults = problem.get("detail"), problem.get("errors") or problem.get("faults") or ()
    head = detail if isinstance(detail, str) else str(problem.get("title", ""))
    listed = (f"  {_place(fault)}: {fault.get('detail') or fault.get('message')}" for fault in faults)
    return "\n".join([head, *listed])


def _place(fault: Mapping[str, Any]) -> str:
    return str(fault.get("pointer") or fault.get("parameter") or fault.get("place") or "(top)")
