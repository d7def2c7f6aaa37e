"""What is measured, as figures: a table for people, and one list for programs."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, inf, log, sqrt
from pathlib import Path
from statistics import mean, median, quantiles, stdev

TIMES = "times"
"""The unit of ratios of one thing to another in the same round."""
STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The quantile of 97.5 per cent, for one degree of freedom and more."""


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
    """Of each figure the median over the rounds, of ratios their interval as well, and the machine's load."""
    figures = {key: median(one[key] for one in rounds) for key in rounds[0]}
    for metric, unit in [key for key in figures if key[1] == TIMES]:
        low, high = interval([one[metric, unit] for one in rounds])
        figures |= {(f"{metric}_at_least", unit): low, (f"{metric}_at_most", unit): high}
    return {**figures, ("load_average", ""): os.getloadavg()[0]}


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Where the true ratio lies, with 95 per cent: by Student's t over the logarithms of paired rounds.

    Unbounded where there is but one round.
    """
    degrees = len(ratios) - 1
    if degrees < 1:
        return 0.0, inf
    logarithms = [log(ratio) for ratio in ratios]
    quantile = STUDENT_T[min(degrees, len(STUDENT_T)) - 1]
    middle, reach = mean(logarithms), quantile * stdev(logarithms) / sqrt(len(ratios))
    return exp(middle - reach), exp(middle + reach)


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
