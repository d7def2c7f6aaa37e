"""Whole builds in tests: every service in this process, on a real log, with real git and real agents."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from events.catalogue import Topic
from events.log.partitions import home_partition
from events.log.port import LogUnavailable, NewRecord, Place, StoredRecord
from services.compose import Application, Commands, Service, compose
from services.settings import Settings
from support.repositories import commit, git

WORKERS = frozenset({Service.SUPERVISOR, Service.BUILDER, Service.AUDITOR, Service.APPLIER, Service.VERIFIER})
END = ("autopack.RunCompleted.v1", "autopack.RunFailed.v1")
GREEN = '[checks.normal]\ntests = { argv = ["true"] }\n[checks.strict]\nmore = { argv = ["true"] }\n'


def repository(folder: Path, files: Mapping[str, str | bytes] | None = None) -> Path:
    """A repository with one commit, an autopack.toml whose checks are green, and the files given."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, {"autopack.toml": GREEN, "README.md": "# Shop\n", **(files or {})}, "Begin")
    return folder


def python_agent(folder: Path, name: str, body: str) -> tuple[str, ...]:
    """A command agent: Python, with the request as `request`, and `report(...)` to write its report."""
    script = folder / f"{name}.py"
    script.write_text(
        "import json, os, pathlib, sys\n"
        "request = json.load(sys.stdin)\n"
        "def report(**keys):\n"
        "    pathlib.Path(os.environ['AUTOPACK_REPORT']).write_text(json.dumps(keys))\n"
        f"{body}\n"
    )
    return (sys.executable, str(script))


WRITES_A_FILE = "pathlib.Path(request['phase']['phase_id'] + '.txt').write_text('done\\n')"


def request(
    repo: Path | str | None, phases: int | Sequence[Mapping[str, Any]] = 1, **changes: Any
) -> dict[str, Any]:
    """The data of a RunRequested: one tier, and phases that only have what is given."""
    listed: Sequence[Mapping[str, Any]] = (
        [{"phase_id": f"P{number + 1}"} for number in range(phases)] if isinstance(phases, int) else phases
    )
    filled = [
        {"tier_id": "T1", "phase_index": index, "name": f"Phase {index + 1}", **phase}
        for index, phase in enumerate(listed)
    ]
    tier_ids = list(dict.fromkeys(phase["tier_id"] for phase in filled))
    return {
        "run_id": "run-1",
        "project": "shop",
        "repository": None if repo is None else str(repo),
        "tiers": [{"tier_id": t, "tier_index": i, "name": t} for i, t in enumerate(tier_ids)],
        "phases": filled,
        **changes,
    }


def submitted(kind: str, data: Mapping[str, Any], run_id: str, project: str, **changes: Any) -> NewRecord:
    """A record as any client would submit it."""
    envelope = {
        "specversion": "1.0",
        "id": f"{kind}-{run_id}",
        "source": "/tests",
        "type": f"autopack.{kind}.v1",
        "subject": run_id,
        "time": "2026-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "project": project,
        "runid": run_id,
        "data": data,
        **changes,
    }
    return NewRecord(project, json.dumps(envelope).encode())


class Build:
    """A running application, as a client of the log sees it."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.log = application.log

    async def start(self, data: Mapping[str, Any], **changes: Any) -> None:
        """Submit a run."""
        record = submitted("RunRequested", data, data["run_id"], data["project"], **changes)
        await self.log.submit(Topic.COMMANDS, [record])

    async def records(self, topic: Topic, project: str = "shop") -> list[StoredRecord]:
        """Every record of a topic in the project's partition."""
        place = Place(topic, home_partition(project, self.log.partition_count))
        found: list[StoredRecord] = []
        while more := await self._read(place, found[-1].offset + 1 if found else 0):
            found += more
        return found

    async def _read(self, place: Place, start: int) -> Sequence[StoredRecord]:
        """A test may look while its server is only about to answer again."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self.log.read(place, start)
                except LogUnavailable:
                    await asyncio.sleep(0.1)

    async def history(self, run_id: str = "run-1", project: str = "shop") -> list[dict[str, Any]]:
        """The events of a run, as plain values."""
        read = [json.loads(record.value) for record in await self.records(Topic.EVENTS, project)]
        return [event for event in read if (event["runid"], event["project"]) == (run_id, project)]

    async def until(
        self, type_name: str, run_id: str = "run-1", project: str = "shop", seconds: float = 60
    ) -> dict[str, Any]:
        """Wait until the history of a run holds an event of a type; the newest of them."""
        return await self._until_any((type_name,), run_id, project, seconds)

    async def end(self, run_id: str = "run-1", project: str = "shop", seconds: float = 60) -> dict[str, Any]:
        """Wait for the terminal event of a run."""
        return await self._until_any(END, run_id, project, seconds)

    async def _until_any(
        self, type_names: Sequence[str], run_id: str, project: str, seconds: float
    ) -> dict[str, Any]:
        deadline = monotonic() + seconds
        while True:
            history = await self.history(run_id, project)
            found = [event for event in history if event["type"] in type_names]
            if found:
                return found[-1]
            if monotonic() > deadline:
                seen = [event["type"] for event in history]
                raise TimeoutError(f"{type_names} did not come within {seconds} s; seen: {seen}")
            await asyncio.sleep(0.02)

    async def rejections(self, project: str = "shop") -> list[dict[str, str]]:
        """The headers of every rejection in the project's partition, as text."""
        found = await self.records(Topic.REJECTIONS, project)
        return [{name: value.decode() for name, value in record.headers.items()} for record in found]


@asynccontextmanager
async def running(
    settings: Settings,
    builder: tuple[str, ...] | None = None,
    auditor: tuple[str, ...] | None = None,
    services: frozenset[Service] = WORKERS,
) -> AsyncIterator[Build]:
    """Services that run as long as the block does, then drain."""
    async with compose(settings, services, Commands(builder, auditor)) as application:
        stop = asyncio.Event()
        task = asyncio.create_task(application.run(stop))
        try:
            yield Build(application)
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)


def names(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the events, without prefix and version."""
    return [event["type"].split(".")[1] for event in history]
