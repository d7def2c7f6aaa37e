"""The application: routes put together, and the server that serves them until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI

from services.api import histories, operations, runs
from services.api.bodies import BodyLimit
from services.api.context import ApiContext
from services.api.problems import install_handlers
from services.api.readiness import keep_looking, not_looked_at
from services.keepalive import KEEPALIVE

DESCRIPTION = "Runs plans of build phases by coding agents, and keeps every step as an immutable event."
GRACE_SECONDS = 3


def create_app(context: ApiContext) -> FastAPI:
    """The API over a context."""
    app = FastAPI(title="Autopack", version=version("autopack"), description=DESCRIPTION)
    app.state.context = context
    app.add_middleware(BodyLimit)
    install_handlers(app)
    for module in (runs, histories, operations):
        app.include_router(module.router)
    return app


class AddressTaken(Exception):
    """The API cannot listen at its address."""


class ApiServer:
    """Serves the API at an address; port 0 takes any free one, and the status says which."""

    def __init__(
        self,
        context: ApiContext,
        address: tuple[str, int],
    ) -> None:
        self._context = context
        self._address = address
        config = uvicorn.Config(
            create_app(context),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Server(config)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let answers under way be finished. Raises AddressTaken."""
        listener = _listen(self._address)
        status = self._context.status
        listening = asyncio.create_task(self._context.changes.listen(status))
        not_looked_at(self._context)
        looking = asyncio.create_task(keep_looking(self._context))
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        stopping = asyncio.create_task(stop.wait())
        try:
            status.ready(url=_url(listener))
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._server.should_exit = True
            stopping.cancel()
            listening.cancel()
            looking.cancel()
            await serving


def _listen(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as error:
        raise AddressTaken(f"cannot listen at {address[0]}:{address[1]}: {error.strerror}") from error
    for option in KEEPALIVE:
        listener.setsockopt(*option)  # whoever follows a quiet run may be gone, and has a loop here
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process's own stop all of its services."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
