"""The figures of `make bench`: how they are made of what was seen, and how they are kept."""

import json
from math import inf
from pathlib import Path

import pytest
from benchmarks.measures import TIMES, Measure, interval, keep, measures, medians, percentile, spread_ms, tell
from benchmarks.visibility import Watched


def test_a_record_shows_when_every_table_was_first_seen_behind_it() -> None:
    watched = Watched()
    for reached, at in ((3, 10.0), (3, 11.0), (5, 12.5)):
        watched.note(0, reached, at)
    written = [(0, 0, 9.0), (0, 2, 9.5), (0, 3, 10.0), (0, 4, 12.0)]
    assert watched.delays(written) == [1.0, 0.5, 2.5, 0.5]


def test_what_was_never_seen_is_not_counted() -> None:
    watched = Watched()
    watched.note(0, 3, 10.0)
    assert watched.delays([(0, 3, 9.0), (1, 0, 9.0)]) == []


def test_percentiles_are_of_the_values_that_were_measured() -> None:
    assert percentile([5.0], 95) == 5.0
    assert spread_ms("phase", [0.001 * n for n in range(1, 102)], 50, 95) == pytest.approx(
        {("phase_p50", "ms"): 51.0, ("phase_p95", "ms"): 96.0}
    )


def test_of_several_rounds_the_median_counts() -> None:
    figures = medians([{("phases", "/s"): value} for value in (1.0, 9.0, 2.0)])
    assert figures["phases", "/s"] == 2.0
    assert ("load_average", "") in figures


def test_a_ratio_comes_with_the_interval_that_its_rounds_leave() -> None:
    low, high = interval([1.0, 1.1, 1.21])
    assert (low, high) == pytest.approx((1.1 * 1.1**-2.4843, 1.1 * 1.1**2.4843), rel=1e-3)
    assert interval([2.0]) == (0.0, inf)
    assert interval([1.5, 1.5]) == pytest.approx((1.5, 1.5))
    figures = medians([{("worse", TIMES): value, ("phases", "/s"): 1.0} for value in (1.0, 1.1, 1.21)])
    assert (figures["worse_at_least", TIMES], figures["worse_at_most", TIMES]) == (low, high)
    assert ("phases_at_least", "/s") not in figures


async def test_what_is_never_seen_is_told_instead_of_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.visibility.LATE_SECONDS", 0.1)
    watched = Watched()
    watched.note(0, 3, 10.0)
    await watched.until_seen([(0, 2, 9.0)])
    with pytest.raises(TimeoutError):
        await watched.until_seen([(0, 2, 9.0), (0, 3, 9.0)])


def test_programs_find_a_list_of_figures(tmp_path: Path) -> None:
    row = list(measures("one run", "postgres", {("phases", "/s"): 1.234}))
    keep(row, tmp_path / "made" / "latest.json")
    assert json.loads((tmp_path / "made" / "latest.json").read_text()) == [
        {"name": "one run", "log": "postgres", "metric": "phases", "value": 1.23, "unit": "/s"}
    ]


def test_people_read_the_figures_of_each_service_apart(capsys: pytest.CaptureFixture[str]) -> None:
    found = {("phases", "/s"): 7.0, ("api_cpu", "ms/phase"): 0.5, ("builder_cpu", "ms/phase"): 2.0}
    tell([Measure("one run", "kafka", metric, value, unit) for (metric, unit), value in found.items()])
    assert capsys.readouterr().out.splitlines() == [
        "kafka    one run",
        "         phases 7 /s",
        "         cpu, ms/phase: api 0.5  builder 2",
    ]
