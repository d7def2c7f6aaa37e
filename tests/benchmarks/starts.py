"""Starting runs over HTTP: how many a second, and how long each waits for its answer."""

import asyncio
import time
from collections.abc import Sequence
from uuid import uuid4

import httpx

from benchmarks.ground import Ground
from benchmarks.measures import Figures, spread_ms
from support.scenario import plan

CLIENTS = 16
STARTS = 400


async def starts(ground: Ground, projects: Sequence[str], builder: str | None = None) -> Figures:
    """Start runs of one phase, several clients at a time; each start is answered when the run is accepted.

    Idle workers build them meanwhile; with `external` as the builder nobody does, and starting alone is measured.
    """
    todo, waited = iter(range(STARTS)), list[float]()
    base_url = f"http://{ground.settings.listen}"

    async def client() -> None:
        async with httpx.AsyncClient(base_url=base_url, timeout=60, trust_env=False) as http:
            for number in todo:
                began = time.perf_counter()
                answer = await http.post("/runs/start", json=_body(projects[number % len(projects)], builder))
                if answer.status_code != 201:
                    raise AssertionError(f"{answer.status_code}: {answer.text}")
                waited.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    spent = time.perf_counter() - began
    return {("starts", "/s"): STARTS / spent, **spread_ms("start", waited, 50, 95)}


def _body(project: str, builder: str | None) -> dict[str, object]:
    agents = {} if builder is None else {"builder": builder}
    requested = plan([{"phase_id": "P0"}], run_id=f"run-{uuid4()}", project=project, agents=agents)
    return requested.model_dump(mode="json", exclude_none=True)
