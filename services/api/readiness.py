"""Whether the API can be used: asked over HTTP, and looked at by itself for those who look at its file."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from events.log.port import LogUnavailable
from projections.database import UNAVAILABLE
from projections.status import read_status
from services.api.context import ApiContext
from services.status import NOT_KNOWN_YET

LOOK_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.5
USE = "use"
logger = structlog.get_logger(__name__)


async def read_readiness(context: ApiContext) -> Mapping[str, Any]:
    """What is in the way, by name, and how each service of this process stands."""
    found = await _troubles(context)
    _tell(context, found)
    # Its own is said already, under the names of what is in the way.
    heard = ((name, status.trouble_but_for(USE)) for name, status in context.statuses.items())
    others = {name: trouble for name, trouble in heard if trouble is not None}
    services = {name: status.report() for name, status in context.statuses.items()}
    troubles = found | others
    return {"status": "not ready" if troubles else "ready", "troubles": troubles, "services": services}


def not_looked_at(context: ApiContext) -> None:
    """Nobody knows yet what is in the way."""
    context.status.hinder(USE, NOT_KNOWN_YET)


async def keep_looking(context: ApiContext) -> None:
    """Let the API's own status say what is in the way, until cancelled: nobody need ask."""
    while True:
        try:
            found = await _troubles(context)
        except Exception as error:
            logger.exception("looking at the readiness failed")
            found = {"readiness": f"{type(error).__name__}: {error}"}
        _tell(context, found)
        await asyncio.sleep(LOOK_AGAIN_SECONDS if found else LOOK_SECONDS)


def _tell(context: ApiContext, troubles: Mapping[str, str]) -> None:
    if troubles:
        context.status.hinder(USE, "; ".join(f"{name}: {trouble}" for name, trouble in troubles.items()))
    else:
        context.status.unhinder(USE)


async def _troubles(context: ApiContext) -> dict[str, str]:
    troubles: dict[str, str] = {}
    try:
        await context.log.check()
        async with context.database() as connection:
            asked_at = asyncio.get_running_loop().time()
            status = await read_status(connection, context.log)
        trouble = status.trouble or context.freshness.trouble(status, asked_at)
        if trouble is not None:
            troubles["projections"] = trouble
        if (refused := context.commands.trouble) is not None:
            troubles["log"] = f"a command was not taken: {refused}"
    except LogUnavailable as error:
        troubles["log"] = str(error)
    except UNAVAILABLE as error:
        troubles["database"] = f"{type(error).__name__}: {error}"
    return troubles
