"""Runs: start, list, look, cancel."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.families.run import RunCancelRequested, RunRequested
from events.ids import derived_id
from events.plan import Fault, RunRequest, plan_faults
from events.states import RunState
from projections.answers import AnswerRow, Outcome
from projections.queries.answers import runs_under
from projections.queries.metrics import list_metrics
from projections.queries.runs import (
    PageKey,
    RunAmbiguous,
    RunNotFound,
    RunView,
    list_runs,
    read_run,
)
from projections.queries.summary import summarize
from services.api.bodies import JsonRoute
from services.api.context import ApiContext, Context
from services.api.emitting import SOURCE, Preference, Preferred, emit, refusal, under_own_key
from services.api.problems import LONGEST_INPUT, MOST_FAULTS, Problem, place_of_fault, run_not_found
from services.api.views import plain, run_line, run_view
from services.fault_places import located_faults
from services.first_version import as_run_request, is_first_version
from services.git.source import is_relative

router = APIRouter(route_class=JsonRoute)
Project = Annotated[str | None, Query(description="needed where two projects have a run of that id")]
OfProject = Annotated[str | None, Query(pattern=r"^[^\x00]*$", description="of this project alone")]
PageLimit = Annotated[int, Query(ge=1, le=500)]
FIRST_YEAR = 1970


@router.post("/runs/start", status_code=201)
async def start_run(
    context: Context, preferred: Preferred, body: Annotated[dict[str, Any], Body()], response: Response
) -> Any:
    """Ask for a run, and wait until it is accepted, has failed, or was refused."""
    request = _filled_in(context, _validated(body))
    project = request.project or context.default_project
    # Of the key alone: the same request sent again is the same run.
    run_id = request.run_id or f"run-{derived_id(project, SOURCE, preferred.event_id)}"
    requested = RunRequested.model_validate({**request.model_dump(), "run_id": run_id, "project": project})
    await _demand_unused(context, project, run_id, preferred)
    answer = await emit(context, project, run_id, requested, preferred)
    location = f"/runs/{run_id}?project={project}"
    if answer is None:
        return _not_yet(run_id, project, location)
    if answer.outcome == Outcome.REJECTED:
        raise refusal(answer)
    response.headers["Location"] = location
    return run_view(await view_of_run(context, run_id, project))


async def _demand_unused(context: ApiContext, project: str, run_id: str, preferred: Preference) -> None:
    """A key stands for one request: refused before anything is submitted for another run."""
    async with context.database() as connection:
        earlier = await runs_under(connection, project, SOURCE, preferred.event_id)
    if earlier and run_id not in earlier:
        raise Problem(409, f"this Idempotency-Key was used for run {earlier[0]}", reason="key_taken")


def _validated(body: dict[str, Any]) -> RunRequest:
    document = as_run_request(body) if is_first_version(body) else body
    try:
        return RunRequest.model_validate(document)
    except ValidationError as error:
        found = islice(located_faults(error, document), MOST_FAULTS)
        raise RequestValidationError([{**fault, "loc": ("body", *place)} for place, fault in found]) from error


def _filled_in(context: ApiContext, request: RunRequest) -> RunRequest:
    """With the service's own repository where the request names none; raises Problem naming each fault."""
    relative = request.repository is not None and is_relative(request.repository)
    if request.repository is None and context.default_repository is not None:
        request = request.model_copy(update={"repository": context.default_repository})
    faults = plan_faults(request)
    if relative:
        message = f"{request.repository!r} is relative to nothing here: give an absolute path or a URL"
        faults = (Fault(place="repository", message=message), *faults)
    if faults:
        errors = [place_of_fault(fault.place, fault.message) for fault in faults[:MOST_FAULTS]]
        raise Problem(400, faults[0].message, reason="invalid_plan", errors=errors)
    return request


def _not_yet(run_id: str, project: str, location: str) -> JSONResponse:
    """The command is safe in the log; what becomes of it will show at the address given."""
    body = {"run_id": run_id, "project": project, "status": "accepted for processing", "status_url": location}
    return JSONResponse(body, status_code=202, headers={"Location": location})


@router.get("/runs")
async def get_runs(
    context: Context,
    project: OfProject = None,
    state: RunState | None = None,
    limit: PageLimit = 50,
    cursor: str | None = None,
) -> dict[str, Any]:
    """Runs, the newest first. `next` is the cursor of the page behind, null on the last."""
    states = [state] if state else None
    async with context.database() as connection:
        page = await list_runs(connection, project=project, states=states, behind=_page_key(cursor), limit=limit)
    return {"runs": [run_line(run) for run in page.runs], "next": _cursor(page.next)}


def _cursor(key: PageKey | None) -> str | None:
    """A page's key as text. It holds no plus sign, which in the query of an address means a blank."""
    if key is None:
        return None
    return f"{key.created_at.astimezone(UTC).replace(tzinfo=None).isoformat()}Z~{key.id}"


def _page_key(cursor: str | None) -> PageKey | None:
    if cursor is None:
        return None
    at, _, row_id = cursor.rpartition("~")
    try:
        key = PageKey(datetime.fromisoformat(at), int(row_id))
    except ValueError as error:
        raise _no_cursor() from error
    if key.created_at.utcoffset() != timedelta(0) or key.created_at.year < FIRST_YEAR or key.id.bit_length() > 63:
        raise _no_cursor()
    return key


def _no_cursor() -> Problem:
    return Problem(400, "cursor: not one that this list gave out")


@router.get("/runs/{run_id}")
async def get_run(context: Context, run_id: str, project: Project = None) -> dict[str, Any]:
    """One run with its tiers and phases."""
    return run_view(await view_of_run(context, run_id, project))


async def view_of_run(context: ApiContext, run_id: str, project: str | None) -> RunView:
    """The run of that id; a problem where there is none, or one in each of several projects."""
    if "\x00" in f"{run_id}{project}":  # what the database cannot hold, it cannot be asked for
        raise run_not_found(run_id)
    async with context.database() as connection:
        try:
            return await read_run(connection, run_id, project)
        except RunNotFound as error:
            raise run_not_found(run_id) from error
        except RunAmbiguous as error:
            raise ambiguous(error) from error


def ambiguous(error: RunAmbiguous) -> Problem:
    """Which projects there are to choose from."""
    return Problem(409, f"{error}; choose one with ?project=", projects=list(error.projects))


class Cancellation(BaseModel):
    """Why a run is to end."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=4000)] = ""
    requested_by: Annotated[str, Field(max_length=4000)] = ""


@router.post("/runs/{run_id}/cancel", status_code=202)
async def cancel_run(
    context: Context,
    preferred: Preferred,
    run_id: str,
    project: Project = None,
    body: Cancellation | None = None,
) -> dict[str, Any]:
    """End a run. It is cancelled when its state says so: running work is given a moment to report."""
    run = (await view_of_run(context, run_id, project)).run
    told = body or Cancellation()
    data = RunCancelRequested(reason=told.reason, requested_by=told.requested_by)
    once = under_own_key(preferred, "cancel", run.project, run_id)
    answer = await _answered(context, run.project, run_id, data, once)
    state = (await view_of_run(context, run_id, run.project)).run.state
    return {"run_id": run_id, "state": state, "outcome": answer.outcome if answer else "pending"}


async def _answered(
    context: ApiContext, project: str, run_id: str, data: RunCancelRequested, preferred: Preference
) -> AnswerRow | None:
    answer = await emit(context, project, run_id, data, preferred)
    if answer is not None and answer.outcome == Outcome.REJECTED:
        raise refusal(answer)
    return answer


@router.get("/metrics/runs")
async def get_metrics(
    context: Context,
    status: Annotated[str | None, Query(description="a run state; blank for all")] = None,
    project: OfProject = None,
    limit: PageLimit = 100,
    cursor: str | None = None,
) -> dict[str, Any]:
    """A line a run, the newest first. `next` is the cursor of the page behind."""
    states = [_run_state(status)] if status else None
    async with context.database() as connection:
        page = await list_metrics(
            connection, project=project, states=states, behind=_page_key(cursor), limit=limit
        )
    return {"total_runs": page.total_runs, "runs": plain(page.runs), "next": _cursor(page.next)}


def _run_state(status: str) -> RunState:
    """The state of that name; raises Problem in the wording that clients of the first version know."""
    try:
        return RunState(status)
    except ValueError as error:
        allowed = ", ".join(RunState)
        raise Problem(400, f"Invalid run state: {status[:LONGEST_INPUT]}; there are {allowed}") from error


@router.get("/reports/run_summary/{run_id}")
async def get_summary(context: Context, run_id: str, project: Project = None) -> dict[str, Any]:
    """The report of one run."""
    summary: dict[str, Any] = plain(summarize(await view_of_run(context, run_id, project)))
    return summary
