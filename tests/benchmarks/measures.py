"""What is measured, as figures: a table for people, and one list for programs."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure. `log` is the kind of log that it was measured on."""

    name: str
    log: str
    metric: str
    value: float
    unit: str


Figures = Mapping[tuple[str, str], float]
"""By metric and unit."""


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent of the values do not exceed."""
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def spread_ms(metric: str, seconds: Sequence[float], *percents: int) -> dict[tuple[str, str], float]:
    """Percentiles of durations, in milliseconds."""
    return {(f"{metric}_p{percent}", "ms"): percentile(seconds, percent) * 1000 for percent in percents}


def medians(rounds: Sequence[Figures]) -> dict[tuple[str, str], float]:
    """Of each figure the median over the rounds, and the machine's load beside them."""
    figures = {key: median(one[key] for one in rounds) for key in rounds[0]}
    return {**figures, ("load_average", ""): os.getloadavg()[0]}


def measures(name: str, log: str, figures: Figures) -> Iterator[Measure]:
    """The figures of one row."""
    for (metric, unit), value in figures.items():
        yield Measure(name, log, metric, round(value, 2), unit)


_OF_EACH_SERVICE = ("cpu", "memory")


def tell(row: Sequence[Measure]) -> None:
    """One row of the table: the figures themselves, then those of each service."""
    print(f"{row[0].log:<9}{row[0].name}")
    print(f"{'':9}{'  '.join(f'{one.metric} {_shown(one)}' for one in row if _service(one) is None)}")
    for kind in _OF_EACH_SERVICE:
        own = [one for one in row if one.metric.endswith(f"_{kind}")]
        if own:
            shown = "  ".join(f"{_service(one)} {one.value:g}" for one in own)
            print(f"{'':9}{kind}, {own[0].unit}: {shown}", flush=True)


def _service(measure: Measure) -> str | None:
    """Whose figure it is, where it is one of each service."""
    name, _, kind = measure.metric.rpartition("_")
    return name if kind in _OF_EACH_SERVICE else None


def _shown(measure: Measure) -> str:
    return f"{measure.value:g} {measure.unit}".strip()


def keep(found: Iterable[Measure], file: Path) -> None:
    """All of them, for programs."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
