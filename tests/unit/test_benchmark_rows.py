"""`make bench` alone measures everything that is promised, on both logs, three times each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmarks import __main__ as bench
from benchmarks.ground import LogKind
from benchmarks.measures import Measure

ROWS = [
    "one run at a time",
    *(f"{at_once} runs at once, {where}" for at_once in (10, 50, 200) for where in ("8 projects", "one project")),
    "from written to visible, one run at a time",
    "hops of a phase, one run at a time",
    "starts over HTTP, built meanwhile",
    "starts over HTTP alone",
    *(
        f"{row}, {events} events before"
        for events in (10_000, 100_000, 1_000_000)
        for row in ("one run at a time", "50 runs at once", "from written to visible")
    ),
    "rebuild of runs, 100000 events",
    "take over 1000 active runs",
    "real git and sandbox, one by one",
    "real git and sandbox, ten side by side",
]


@asynccontextmanager
async def _servers(kind: LogKind, folder: Path) -> AsyncIterator[SimpleNamespace]:
    yield SimpleNamespace(log=SimpleNamespace(partition_count=8), settings=SimpleNamespace(home_folder=folder))


@asynccontextmanager
async def _services(place: SimpleNamespace, **_: object) -> AsyncIterator[SimpleNamespace]:
    yield place


async def _prepared(*_: object) -> None:
    """Nothing is measured here."""


def _asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> bench.Options:
    """What a command line asks for."""
    asked: list[bench.Options] = []

    async def benched(options: bench.Options) -> list[Measure]:
        asked.append(options)
        return []

    monkeypatch.setattr("sys.argv", ["make bench", *words])
    monkeypatch.setattr(bench, "_bench", benched)
    monkeypatch.setattr(bench, "keep", lambda *_: None)
    bench.main()
    (options,) = asked
    return options


async def _names(monkeypatch: pytest.MonkeyPatch, options: bench.Options, folder: Path) -> list[str]:
    driver = SimpleNamespace(drive=lambda: _prepared())
    for name, fake in (
        *(("servers", _servers), ("services", _services), ("fill", _prepared), ("begin_runs", _prepared)),
        *(("prepare", lambda *_: None), ("Driver", lambda *_: driver)),
    ):
        monkeypatch.setattr(bench, name, fake)
    return [name async for name, _ in bench._rows(LogKind.POSTGRES, options, folder)]


def test_nothing_is_left_out_where_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = _asked(monkeypatch)
    assert (options.kinds, options.rounds) == ((LogKind.POSTGRES, LogKind.KAFKA), 3)
    assert asyncio.run(_names(monkeypatch, options, tmp_path)) == ROWS


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["--only", "rebuild"], ["rebuild of runs, 100000 events"]),
        (["--only", "hops"], ["hops of a phase, one run at a time"]),
        (
            ["--only", "visible", "--histories", "500"],
            ["from written to visible, one run at a time", "from written to visible, 500 events before"],
        ),
        (["--only", "nothing of that name"], []),
    ],
)
def test_rows_are_chosen_by_what_they_are_called(
    words: list[str], rows: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = _asked(monkeypatch, *words)
    assert asyncio.run(_names(monkeypatch, options, tmp_path)) == rows
