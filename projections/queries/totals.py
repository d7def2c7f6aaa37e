"""Sums over all runs, for a monitor: read whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from projections.database import Connection
from projections.metrics import METRICS
from projections.runs import RUNS


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all runs, for a monitor."""

    runs_by_state: Mapping[str, int]
    events: int
    tokens: Mapping[str, int]
    cost_usd: float
    ci_runs: int
    builds: int
    audits: int
    phases_completed: int
    phases_failed: int
    failures: Mapping[str, int]
    stages: Mapping[str, Mapping[str, float]]


Figure = tuple[str, str, str]
"""What was summed: of which family, under what name, and which member of that."""

Figures = Mapping[Figure, Fraction]
"""Sums. They are exact, so that it does not matter in which order, or in which parts, they were added up."""

_TOKENS = {
    "input": "input_tokens",
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
}
_COUNTS = ("events", "ci_runs", "builds", "audits", "phases_completed", "phases_failed")
_STAGE = ("count", "waiting_seconds", "working_seconds")
_SUMMED = (*_COUNTS, "cost_usd", *_TOKENS.values())

RUNS_COLUMNS = "state"
METRICS_COLUMNS = f"{', '.join(_SUMMED)}, failures, stages"


def totals_statement(runs: str, metrics: str) -> str:
    """The statement that sums up `runs` and `metrics`, which are queries of RUNS_COLUMNS and METRICS_COLUMNS, said
    with whether they are to be materialized.
    """
    return f"""
WITH shown AS {runs}, counted AS {metrics}
SELECT 'states' AS family, state AS name, '' AS member, count(*)::numeric AS value FROM shown GROUP BY state
UNION ALL
SELECT 'sums', figure.name, '', figure.value
FROM (SELECT {", ".join(f"sum({name}::numeric) AS {name}" for name in _SUMMED)} FROM counted) AS sums,
    LATERAL (VALUES {", ".join(f"('{name}', sums.{name})" for name in _SUMMED)}) AS figure (name, value)
WHERE figure.value IS NOT NULL
UNION ALL
SELECT 'failures', failure.key, '', sum(failure.value::numeric)
FROM counted, jsonb_each(failures) AS failure GROUP BY failure.key
UNION ALL
SELECT 'stages', stages.name, figure.name, figure.value
FROM (
    SELECT stage.key AS name, {", ".join(f"sum((stage.value -> '{name}')::numeric) AS {name}" for name in _STAGE)}
    FROM counted, jsonb_each(stages) AS stage GROUP BY stage.key) AS stages,
    LATERAL (VALUES {", ".join(f"('{name}', stages.{name})" for name in _STAGE)}) AS figure (name, value)
"""


_WHOLE = totals_statement(
    f"NOT MATERIALIZED (SELECT {RUNS_COLUMNS} FROM {RUNS.table})",
    f"NOT MATERIALIZED (SELECT {METRICS_COLUMNS} FROM {METRICS.table})",
)


async def read_totals(connection: Connection) -> Totals:
    """Sums over all runs, from a row of each."""
    return totals_of(await read_figures(connection, _WHOLE))


async def read_figures(connection: Connection, statement: str, *values: object) -> Figures:
    """The figures that a statement of `totals_statement` gives."""
    found = await connection.fetch(statement, *values)
    return {(row["family"], row["name"], row["member"]): Fraction(row["value"]) for row in found}


def totals_of(figures: Figures) -> Totals:
    """Figures as they are shown; what is nothing is not."""

    def count(*figure: str) -> int:
        family, name, member = figure
        return int(figures.get((family, name, member), 0))

    sums = {name: figures.get(("sums", name, ""), Fraction(0)) for name in _SUMMED}
    named = sorted(figure for figure, value in figures.items() if value)
    return Totals(
        runs_by_state={name: count("states", name, "") for family, name, _ in named if family == "states"},
        tokens={kind: int(sums[name]) for kind, name in _TOKENS.items()},
        cost_usd=float(sums["cost_usd"]),
        failures={name: count("failures", name, "") for family, name, _ in named if family == "failures"},
        stages={
            name: {
                "count": count("stages", name, "count"),
                "waiting_seconds": float(figures.get(("stages", name, "waiting_seconds"), 0)),
                "working_seconds": float(figures.get(("stages", name, "working_seconds"), 0)),
            }
            for family, name, member in named
            if family == "stages" and member == "count"
        },
        **{name: int(sums[name]) for name in _COUNTS},
    )
