"""`make bench`: one table of what the machinery between agents costs, and the same in `.bench/latest.json`."""

import asyncio
import json
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

from benchmarks.driving import Driver, Load, Observed, projects_over
from benchmarks.ground import Ground, LogKind, ground

RESULTS = Path(".bench/latest.json")
Row = dict[str, object]


def _loads(projects: tuple[str, ...]) -> Iterator[tuple[str, Load]]:
    yield "one run at a time", Load(20, 10, 1, projects[:1])
    for at_once in (10, 50, 200):
        yield f"{at_once} runs at once, {len(projects)} projects", Load(2 * at_once, 5, at_once, projects)
    yield "50 runs at once, one project", Load(100, 5, 50, projects[:1])


async def _measured(place: Ground, load: Load, rounds: int) -> Row:
    observed = [await Driver(place, load).drive() for _ in range(rounds)]
    phases = load.runs * load.phases
    return {
        "phases_per_second": round(median(phases / one.wall_seconds for one in observed), 1),
        "phase_p50_ms": round(median(_percentile(one, 50) for one in observed), 1),
        "phase_p95_ms": round(median(_percentile(one, 95) for one in observed), 1),
        "events_per_phase": round(median(one.events / phases for one in observed), 1),
        "cpu_ms_per_phase": {
            name: round(median(one.cpu_seconds[name] / phases * 1000 for one in observed), 2)
            for name in observed[0].cpu_seconds
        },
        "memory_mib": {name: round(mib) for name, mib in place.memory_mib().items()},
        "load_average": round(os.getloadavg()[0], 2),
    }


def _percentile(one: Observed, percent: int) -> float:
    return quantiles(one.phase_seconds, n=100, method="inclusive")[percent - 1] * 1000


async def _bench(kinds: list[LogKind], rounds: int, only: str) -> list[Row]:
    rows: list[Row] = []
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="autopack-bench-") as folder:
            async with ground(kind, Path(folder)) as place:
                projects = projects_over(place.log.partition_count)
                await Driver(place, Load(16, 2, 16, projects)).drive()
                for name, load in _loads(projects):
                    if only in name:
                        row = {"log": kind.value, "load": name, **await _measured(place, load, rounds)}
                        rows.append(row)
                        _tell(row)
    return rows


def _tell(row: Row) -> None:
    cpu = row["cpu_ms_per_phase"]
    assert isinstance(cpu, dict)
    spent = " ".join(f"{name} {ms}" for name, ms in cpu.items())
    print(
        f"{row['log']:<9}{row['load']:<32}{row['phases_per_second']:>8} phases/s  "
        f"p50 {row['phase_p50_ms']} ms  p95 {row['phase_p95_ms']} ms  load {row['load_average']}\n"
        f"{'':41}ms of processor a phase: {spent}",
        flush=True,
    )


def main() -> None:
    """Measure, print, keep."""
    parser = ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--log", choices=[kind.value for kind in LogKind], help="this log alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="loads whose name contains this")
    given = parser.parse_args()
    kinds = [LogKind(given.log)] if given.log else list(LogKind)
    rows = asyncio.run(_bench(kinds, given.rounds, given.only))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
