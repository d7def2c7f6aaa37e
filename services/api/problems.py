"""Errors as problem details (RFC 9457), in the form that clients of the first version read as well.

`detail` is a text; for an invalid request it is the list of faults that those clients know, and `errors` says the
same with JSON pointers into the body, and the names of parameters.
"""

from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from math import isfinite
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from events.log.port import LogUnavailable
from projections.database import UNAVAILABLE
from services.fault_places import json_pointer, location_of
from services.json_reading import RepeatedKey

MEDIA_TYPE = "application/problem+json"
MOST_FAULTS = 100
LONGEST_INPUT = 200
_TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Invalid request",
    500: "Internal fault",
    503: "Unavailable",
}


class Problem(Exception):
    """A request cannot be answered as asked."""

    def __init__(self, status: int, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.members = members


def run_not_found(run_id: str) -> Problem:
    """The wording that clients of the first version know."""
    return Problem(404, f"Run {run_id} not found")


def problem_response(
    status: int, detail: object, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    """The response for a problem."""
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        **members,
    }
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def unparsed_body(error: JSONDecodeError) -> JSONResponse:
    """The response for a body that cannot be read: on which line and column, both from 1, it goes wrong."""
    said = _printable(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})")
    detail = [{"type": "json_invalid", "loc": ["body", error.pos], "msg": said, "input": {}}]
    location = error.location if isinstance(error, RepeatedKey) else ()
    pointer = _printable(json_pointer(location))
    place = {"pointer": pointer, "line": error.lineno, "column": error.colno, "detail": said}
    return problem_response(422, detail, errors=[place])


def invalid_body(errors: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """The response for a body or parameter that does not fit; each fault with its place."""
    shown = errors[:MOST_FAULTS]
    named = [{**error, "loc": [_printable(part) for part in _written(error["loc"])]} for error in shown]
    detail = [
        {"type": e["type"], "loc": e["loc"], "msg": _printable(e["msg"]), "input": _printable(e.get("input"))}
        for e in named
    ]
    return problem_response(422, detail, errors=[_placed(error) for error in named])


def _written(location: Sequence[Any]) -> Sequence[Any]:
    """Of a parameter its name alone: behind it come the types that were tried."""
    return location if location[0] == "body" else location[:2]


def _placed(error: Mapping[str, Any]) -> dict[str, Any]:
    """The fault of a body by its pointer, of anything else by the parameter's name."""
    where, *location = error["loc"]
    told = {"detail": _printable(error["msg"])}
    if where != "body":
        return {"parameter": str(location[0]) if location else str(where), **told}
    return {"pointer": json_pointer(tuple(location)), **told}


def place_of_fault(place: str, message: str) -> dict[str, Any]:
    """A fault of a plan, as `errors` lists it."""
    return {"pointer": json_pointer(location_of(place)), "detail": message}


def _printable(value: Any) -> Any:
    """What a client sent, as JSON can hold it: no half characters, no infinity, nothing long."""
    if isinstance(value, bool | int | None) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value)[:LONGEST_INPUT].encode("utf-8", "replace").decode()


def install_handlers(app: FastAPI) -> None:
    """Give every error of the application this form."""

    @app.exception_handler(Problem)
    async def on_problem(_: Request, problem: Problem) -> JSONResponse:
        return problem_response(problem.status, problem.detail, **problem.members)

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> JSONResponse:
        return problem_response(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        unparsed = error.__cause__
        return unparsed_body(unparsed) if isinstance(unparsed, JSONDecodeError) else invalid_body(error.errors())

    async def on_unavailable(_: Request, error: Exception) -> JSONResponse:
        what = "log" if isinstance(error, LogUnavailable) else "database"
        return problem_response(503, f"the {what} cannot be reached: {error}", {"retry-after": "5"})

    for kind in (LogUnavailable, *UNAVAILABLE):
        app.add_exception_handler(kind, on_unavailable)

    @app.exception_handler(Exception)
    async def on_fault(_: Request, error: Exception) -> JSONResponse:
        return problem_response(500, f"a fault of the service: {type(error).__name__}; its log says more")
