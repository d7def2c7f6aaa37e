"""All services with the API, and a client of it, for tests that speak HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from services.compose import Service
from services.settings import Settings
from support.builds import Build, running

EVERYTHING = frozenset(Service)
READY_SECONDS = 30


@asynccontextmanager
async def serving(
    settings: Settings,
    builder: tuple[str, ...] | None = None,
    auditor: tuple[str, ...] | None = None,
    services: frozenset[Service] = EVERYTHING,
) -> AsyncIterator[tuple[Build, httpx.AsyncClient]]:
    """Run the services, and give a client as soon as they are ready."""
    settings = settings.model_copy(update={"listen": "127.0.0.1:0"})
    async with running(settings, builder, auditor, services) as build:
        status = build.application.statuses[Service.API]
        async with asyncio.timeout(READY_SECONDS):
            while "url" not in status.facts:
                await asyncio.sleep(0.02)
        async with httpx.AsyncClient(base_url=str(status.facts["url"]), timeout=30) as client:
            await _ready(client)
            yield build, client


async def _ready(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/ready")
    async with asyncio.timeout(READY_SECONDS):
        while answer.status_code != 200:
            await asyncio.sleep(0.05)
            answer = await client.get("/health/ready")
