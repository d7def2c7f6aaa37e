"""Bodies of requests: read up to a limit and no further, and as JSON that says each thing once."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from events.codec import MAX_SUBMISSION_BYTES
from services.api.problems import problem_response
from services.json_reading import load_json

TOO_LARGE = 413
DETAIL = f"a body has {MAX_SUBMISSION_BYTES} bytes at most"


class BodyLimit:
    """Refuses what could not become a record of the log anyway, before it fills the memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose body is not too large."""
        if scope["type"] == "http" and _told_bytes(scope) > MAX_SUBMISSION_BYTES:
            await problem_response(TOO_LARGE, DETAIL)(scope, receive, send)
        else:
            await self._app(scope, _Counted(receive).receive, send)


class _Counted:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > MAX_SUBMISSION_BYTES:
            raise HTTPException(TOO_LARGE, DETAIL)
        return message


def _told_bytes(scope: Scope) -> int:
    told = dict(scope["headers"]).get(b"content-length", b"")
    return int(told) if told.isdigit() else 0


class JsonRoute(APIRoute):
    """A route whose body is JSON without a key twice in an object, and where each fault has a place."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with a request that reads its body so."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return handler


class _JsonRequest(Request):
    async def json(self) -> Any:
        """The value of the body. Raises json.JSONDecodeError, ValueError, RecursionError."""
        body = await self.body()
        try:
            text = body.decode(json.detect_encoding(body))
        except UnicodeDecodeError as error:
            before = body[: error.start].decode(error.encoding, "replace")
            raise json.JSONDecodeError(f"not {error.encoding}", before, len(before)) from error
        return load_json(text)
