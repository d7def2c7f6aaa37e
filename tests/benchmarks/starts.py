"""Starting runs over HTTP: how many a second, and how long each waits for its answer."""

import asyncio
import time
from collections.abc import Sequence
from uuid import uuid4

import httpx

from benchmarks.ground import Ground
from benchmarks.measures import Figures, spread_ms
from support.scenario import plan

CLIENTS = 50
STARTS = 400


async def starts(ground: Ground, projects: Sequence[str], builder: str | None = None) -> Figures:
    """Start runs of one phase, several clients at a time; each start is answered when the run is accepted.

    Idle workers build them meanwhile; with `external` as the builder nobody does, and starting alone is measured.
    """
    waited: list[float] = []
    bodies = [_body(projects[number % len(projects)], builder) for number in range(STARTS)]

    async def client(http: httpx.AsyncClient) -> None:
        while bodies:
            body, began = bodies.pop(), time.perf_counter()
            answer = await http.post("/runs/start", content=body, headers={"Content-Type": "application/json"})
            if answer.status_code != 201:
                raise AssertionError(f"{answer.status_code}: {answer.text}")
            waited.append(time.perf_counter() - began)

    # One for all: making one, with its certificates, takes as long as a start.
    async with httpx.AsyncClient(base_url=f"http://{ground.settings.listen}", timeout=60, trust_env=False) as http:
        cpu_before, ours_before, began = ground.cpu_seconds(), time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(http))
        spent = time.perf_counter() - began
    used = {name: seconds - cpu_before[name] for name, seconds in ground.cpu_seconds().items()}
    used["clients"] = time.process_time() - ours_before
    return {
        ("starts", "/s"): STARTS / spent,
        **spread_ms("start", waited, 50, 95),
        **{(f"{name}_cpu", "ms/start"): seconds / STARTS * 1000 for name, seconds in used.items()},
    }


def _body(project: str, builder: str | None) -> bytes:
    agents = {} if builder is None else {"builder": builder}
    requested = plan([{"phase_id": "P0"}], run_id=f"run-{uuid4()}", project=project, agents=agents)
    return requested.model_dump_json(exclude_none=True).encode()
