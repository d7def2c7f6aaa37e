"""`make bench`: what the machinery between agents costs, as a table and in `.bench/latest.json`.

Idle workers stand behind the ports, unless a row says otherwise; every service is a process of its own, with the
same runner as in production. Each figure is the median of its rounds.
"""

import asyncio
import itertools
import tempfile
from argparse import ArgumentParser
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.driving import Driver, Load
from benchmarks.ground import Ground, LogKind, servers, services
from benchmarks.histories import fill, projects_over
from benchmarks.hops import hops
from benchmarks.measures import TIMES, Figures, Measure, keep, measures, medians, spread_ms, tell
from benchmarks.reading import ACTIVE_RUNS, begin_runs, rebuilds, takeovers
from benchmarks.real import prepare
from benchmarks.starts import starts
from benchmarks.visibility import watching
from events.plan import EXTERNAL

RESULTS = Path(".bench/latest.json")
HISTORIES = "10000,100000,1000000"
REBUILT_EVENTS = 100_000
SHOWN = "from written to visible"
Row = tuple[str, Callable[[], Awaitable[Figures]]]
Measured = Callable[[Ground, Load], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    kinds: tuple[LogKind, ...]
    rounds: int
    only: str
    histories: tuple[int, ...]

    def wants(self, name: str) -> bool:
        """Whether a row is to be measured."""
        return self.only in name


def _one_at_a_time(projects: tuple[str, ...]) -> Load:
    return Load(20, 10, 1, projects[:1])


def _loads(projects: tuple[str, ...]) -> Iterator[tuple[str, Load]]:
    yield "one run at a time", _one_at_a_time(projects)
    for at_once in (10, 50, 200):
        yield f"{at_once} runs at once, {len(projects)} projects", Load(2 * at_once, 5, at_once, projects)
        yield f"{at_once} runs at once, one project", Load(2 * at_once, 5, at_once, projects[:1])


async def _driven(place: Ground, load: Load) -> Figures:
    """Phases a second, how long each takes, and what it costs."""
    observed = await Driver(place, load).drive()
    phases = load.runs * load.phases
    spent = {(f"{name}_cpu", "ms/phase"): s / phases * 1000 for name, s in observed.cpu_seconds.items()}
    return {
        ("phases", "/s"): phases / observed.wall_seconds,
        **spread_ms("phase", observed.phase_seconds, 50, 95),
        ("processor", "ms/phase"): sum(observed.cpu_seconds.values()) / phases * 1000,
        ("events", "/phase"): observed.events / phases,
        **spent,
        **{(f"{name}_memory", "MiB"): mib for name, mib in place.memory_mib().items()},
    }


async def _shown(place: Ground, load: Load) -> Figures:
    """How long after it was written each event is to be seen in the tables. Watching costs the servers time."""
    async with watching(place.database_url) as watched:
        observed = await Driver(place, load).drive()
        await watched.until_seen(observed.records)
    return spread_ms("visible", watched.delays(observed.records), 50, 99)


async def _rows(kind: LogKind, options: Options, folder: Path) -> AsyncGenerator[Row, None]:
    """Every row, each on the ground that it needs. What is not asked for is not even prepared."""
    async with servers(kind, folder / "machinery") as place:
        projects = projects_over(place.log.partition_count)
        rows: list[Row] = [(name, partial(_driven, place, load)) for name, load in _loads(projects)]
        rows.append((f"{SHOWN}, one run at a time", partial(_shown, place, _one_at_a_time(projects))))
        rows.append(("hops of a phase, one run at a time", partial(hops, place, _one_at_a_time(projects))))
        rows.append(("starts over HTTP, built meanwhile", partial(starts, place, projects)))
        rows.append(("starts over HTTP alone", partial(starts, place, projects, EXTERNAL)))
        wanted = [row for row in rows if options.wants(row[0])]
        if wanted:
            async with services(place):
                await Driver(place, Load(16, 2, 16, projects)).drive()
                for row in wanted:
                    yield row
    for events in options.histories:
        async for row in _on_history(kind, options, folder, events):
            yield row
    if options.wants("rebuild"):
        async with servers(kind, folder / "rebuilt") as place:
            await fill(place.log, REBUILT_EVENTS)
            yield f"rebuild of runs, {REBUILT_EVENTS} events", partial(rebuilds, place)
    if options.wants("take over"):
        async with servers(kind, folder / "taken-over") as place:
            await begin_runs(place.log)
            yield f"take over {ACTIVE_RUNS} active runs", partial(takeovers, place, folder)
    async for row in _real(kind, options, folder):
        yield row


async def _on_history(kind: LogKind, options: Options, folder: Path, events: int) -> AsyncIterator[Row]:
    """Each row beside the same on a log that was empty, in turn: machines differ from minute to minute."""
    rows = (("one run at a time", "phase_p50"), ("50 runs at once", "phases"), (SHOWN, "visible_p50"))
    wanted = [row for row in rows if options.wants(f"{row[0]}, {events} events before")]
    if not wanted:
        return
    async with (
        servers(kind, folder / f"history-{events}") as place,
        servers(kind, folder / f"beside-{events}") as empty,
    ):
        await fill(place.log, events)
        projects = projects_over(place.log.partition_count)
        async with services(place, events=events), services(empty):
            for one in (place, empty):
                await Driver(one, Load(16, 2, 16, projects)).drive()
            for name, metric in wanted:
                load = Load(100, 5, 50, projects) if name.startswith("50") else _one_at_a_time(projects)
                measure = _shown if name == SHOWN else _driven
                paired = partial(_paired, measure, load, (place, empty), metric, itertools.count())
                yield f"{name}, {events} events before", paired


async def _paired(
    measure: Measured, load: Load, places: tuple[Ground, Ground], metric: str, rounds: Iterator[int]
) -> Figures:
    """The figures on the first place, and by how many times one of them is worse there than on the second.

    Who is measured first changes with every round: what has just been warmed up is faster.
    """
    found = {}
    for place in places if next(rounds) % 2 == 0 else reversed(places):
        found[place is places[0]] = await measure(place, load)
    first, second = found[True], found[False]
    (key,) = (key for key in first if key[0] == metric)
    is_rate = key[1] == "/s"
    ratio = second[key] / first[key] if is_rate else first[key] / second[key]
    return {**first, ("worse", TIMES): ratio}


async def _real(kind: LogKind, options: Options, folder: Path) -> AsyncIterator[Row]:
    names = {"real git and sandbox, one by one": 1, "real git and sandbox, ten side by side": 10}
    wanted = {name: at_once for name, at_once in names.items() if options.wants(name)}
    if not wanted:
        return
    async with servers(kind, folder / "real") as place:
        changes = prepare(place.settings.home_folder, folder)
        projects = projects_over(place.log.partition_count)
        async with services(place, idle=False):
            await Driver(place, Load(2, 2, 1, projects, changes)).drive()
            for name, at_once in wanted.items():
                yield name, partial(_driven, place, Load(2 * at_once, 5, at_once, projects, changes))


async def _bench(options: Options) -> list[Measure]:
    found: list[Measure] = []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="autopack-bench-") as folder:
            async with aclosing(_rows(kind, options, Path(folder))) as rows:
                async for name, measured in rows:
                    figures = medians([await measured() for _ in range(options.rounds)])
                    row = list(measures(name, kind.value, figures))
                    tell(row)
                    found.extend(row)
    return found


def main() -> None:
    """Measure, print, keep."""
    parser = ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--log", choices=[kind.value for kind in LogKind], help="this log alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--histories", default=HISTORIES, help="events before, for the rows on long histories")
    given = parser.parse_args()
    kinds = (LogKind(given.log),) if given.log else tuple(LogKind)
    histories = tuple(int(events) for events in given.histories.split(",") if events)
    keep(asyncio.run(_bench(Options(kinds, given.rounds, given.only, histories))), RESULTS)


if __name__ == "__main__":
    main()
