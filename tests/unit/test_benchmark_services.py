"""A benchmark that is killed leaves no service behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from support.workers import is_alive

LIMIT_SECONDS = 90.0
STARTS_ONE = """
import asyncio, os, sys
from pathlib import Path
from benchmarks.ground import launch

async def main():
    service = await launch((sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"),
                           os.environ, Path.cwd(), "service.log")
    print(service.pid, flush=True)
    await service.wait()

asyncio.run(main())
"""


async def test_the_services_of_a_benchmark_that_is_killed_end_with_it(tmp_path: Path) -> None:
    benchmark = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTS_ONE),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=asyncio.subprocess.PIPE,
    )
    assert benchmark.stdout is not None
    async with asyncio.timeout(LIMIT_SECONDS):
        service = int(await benchmark.stdout.readline())
        while (tmp_path / "service.log").read_text() != "up\n":
            await asyncio.sleep(0.01)
        assert is_alive(service)
        os.kill(benchmark.pid, signal.SIGKILL)
        await benchmark.wait()
        while is_alive(service):
            await asyncio.sleep(0.01)
