"""`promote`: the result of a run taken over into a branch, fast-forward only, and written into the history."""

import asyncio
import getpass
import os
from datetime import UTC, datetime
from time import time
from typing import assert_never

from uuid_utils import uuid7

from events.catalogue import Topic
from events.envelope import write_submission
from events.event import Event
from events.families.run import RunPromoted
from events.log.port import NewRecord
from events.states import RunState
from projections.runs import RunRow
from services.cli.client import Client
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.reaching import service_at_hand, started_here
from services.cli.records import read_record
from services.cli.running import read_view
from services.cli.services_here import READING, SUPERVISOR
from services.cli.store import Store, opened_store
from services.git.command import GitCommand
from services.git.failures import GitFailure
from services.git.mirror import fetch_commit, open_mirror
from services.git.promotion import (
    BranchCheckedOut,
    BranchMissing,
    NotFastForward,
    Promoted,
    PromotionFailed,
    fast_forward,
)
from services.settings import Settings

SOURCE = "/autopack/cli"
RECORDED_SECONDS = 10.0
RECORDING = READING | {SUPERVISOR}


async def promote_run(settings: Settings, run_id: str, branch: str, project: str | None) -> Promoted:
    """Move a branch forward to the head of a run. Raises Unsuccessful where that may not or cannot be."""
    async with service_at_hand(settings) as client:
        if client is not None:
            return await _promote(settings, client.of_project(project), run_id, branch)
    async with started_here(settings, RECORDING) as client:
        return await _promote(settings, client.of_project(project), run_id, branch)


async def _promote(settings: Settings, client: Client, run_id: str, branch: str) -> Promoted:
    run = (await read_view(client, run_id)).run
    if run is None:
        raise WrongUsage(f"Run {run_id} not found")
    _demand_promotable(run)
    # First the log is reached: a branch that was moved and not written down would be nobody's.
    async with opened_store(settings) as store:
        promoted = await _moved(settings, run, branch)
        await _record(store, client, run, promoted)
    return promoted


def _demand_promotable(run: RunRow) -> None:
    if run.state != RunState.DONE_SUCCESS:
        raise Unsuccessful(f"{run.run_id} is {run.state}: only a run that is DONE_SUCCESS can be promoted")
    if run.unchecked:
        raise Unsuccessful(f"{run.run_id} was asked for without checks: it can never be promoted")
    if not run.promotable:
        raise Unsuccessful(
            f"{run.run_id} is not eligible: a tier is not clean, or a budget or debt limit was passed"
        )


async def _moved(settings: Settings, run: RunRow, branch: str) -> Promoted:
    repository, commit = run.repository, run.head_commit
    if repository is None or commit is None:
        raise Unsuccessful(f"{run.run_id} has no commit to promote")
    try:
        mirror = await open_mirror(GitCommand(), settings.home_folder / "mirrors", repository)
        await fetch_commit(mirror, commit)
        promotion = await fast_forward(mirror, branch, commit)
    except (GitFailure, OSError) as error:
        raise Unsuccessful(str(error)) from error
    match promotion:
        case Promoted():
            return promotion
        case BranchMissing():
            raise Unsuccessful(f"{repository} has no branch {branch!r}")
        case NotFastForward():
            raise Unsuccessful(
                f"{branch} is at {promotion.actual[:12]}, which {run.run_id} does not build on: only a "
                "fast-forward is done; start a new run from there"
            )
        case BranchCheckedOut():
            raise Unsuccessful(
                f"{branch} is checked out in {promotion.folder}: merge there, "
                f"git -C {promotion.folder} merge --ff-only {run.integration_branch}"
            )
        case PromotionFailed():
            raise Unsuccessful(promotion.detail)
        case _:
            assert_never(promotion)


async def _record(store: Store, client: Client, run: RunRow, promoted: Promoted) -> None:
    """Submit RunPromoted, and wait until the history shows it; what it shows already is not said twice."""
    if promoted.already and await _recorded(client, run, promoted):
        return
    data = RunPromoted(branch=promoted.branch, commit=promoted.commit, promoted_by=user())
    event = Event(
        id=str(uuid7()),
        source=SOURCE,
        run_id=run.run_id,
        recorded_at=datetime.fromtimestamp(time(), UTC),
        data=data,
    )
    record = NewRecord(run.project, write_submission(event, run.project), {"type": data.type_name().encode()})
    await store.log.submit(Topic.COMMANDS, [record])
    try:
        async with asyncio.timeout(RECORDED_SECONDS):
            while not await _recorded(client, run, promoted):  # noqa: ASYNC110 - it is told over HTTP
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise Unsuccessful(f"{promoted.branch} was moved, but the history does not show it yet") from None


def user() -> str:
    """Who promotes: a name, or the number where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


async def _recorded(client: Client, run: RunRow, promoted: Promoted) -> bool:
    async for line in client.records(run.run_id):
        data = read_record(line).event.data
        if isinstance(data, RunPromoted) and data.commit == promoted.commit and data.branch == promoted.branch:
            return True
    return False
