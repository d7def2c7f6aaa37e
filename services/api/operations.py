"""What monitors ask: alive, ready, counters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from projections.queries.totals import Totals
from projections.queries.waiting import Waiting, read_waiting
from projections.status import ProjectionStatus, Standing, read_status
from services.api.context import Context
from services.api.readiness import read_readiness
from services.status import ServiceStatus

router = APIRouter()


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/health/ready")
async def ready(context: Context) -> JSONResponse:
    """Log, database and projections can be used; 503 says what is in the way."""
    body = await read_readiness(context)
    return JSONResponse(body, status_code=503 if body["troubles"] else 200)


@router.get("/metrics")
async def metrics(context: Context) -> Response:
    """Counters in Prometheus' text format."""
    totals = await context.totals.read(context.database)
    async with context.database() as connection:
        waiting = await read_waiting(connection)
        status = await read_status(connection, context.log)
    registry = CollectorRegistry()
    families = [*_families(totals), *_waiting(waiting), *_standing(status.projections)]
    registry.register(_Collected([*families, *_services(context.statuses.values())]))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Collected:
    """Families read beforehand, as prometheus_client collects them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Give the families."""
        yield from self._families


def _families(totals: Totals) -> Iterator[Metric]:
    runs = GaugeMetricFamily("autopack_runs", "Runs by state.", labels=["state"])
    for state, count in totals.runs_by_state.items():
        runs.add_metric([state], count)
    yield runs
    tokens = CounterMetricFamily("autopack_tokens", "Tokens reported, by kind.", labels=["kind"])
    for kind, count in totals.tokens.items():
        tokens.add_metric([kind], count)
    yield tokens
    failures = CounterMetricFamily("autopack_failures", "Failed work by class.", labels=["failure"])
    for failure, count in totals.failures.items():
        failures.add_metric([failure], count)
    yield failures
    yield from _stages(totals)
    for name, text, value in (
        ("autopack_events", "Events in the history.", totals.events),
        ("autopack_cost_usd", "Cost reported, in US dollars.", totals.cost_usd),
        ("autopack_ci_runs", "Runs of checks.", totals.ci_runs),
        ("autopack_builds", "Build attempts.", totals.builds),
        ("autopack_audits", "Audits.", totals.audits),
        ("autopack_phases_completed", "Phases that landed.", totals.phases_completed),
        ("autopack_phases_failed", "Phases that failed.", totals.phases_failed),
    ):
        yield CounterMetricFamily(name, text, value=value)


def _stages(totals: Totals) -> Iterator[Metric]:
    for member, text in (
        ("waiting_seconds", "Time that requests waited for a worker, by stage."),
        ("working_seconds", "Time that requests were worked on, by stage."),
        ("count", "Requests answered, by stage."),
    ):
        family = CounterMetricFamily(f"autopack_stage_{member}", text, labels=["stage"])
        for stage, figures in totals.stages.items():
            family.add_metric([stage], figures[member] or 0)
        yield family


def _waiting(waiting: Mapping[str, Waiting]) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "autopack_waiting", "Runs and requests that nobody has taken up yet.", labels=["kind"]
    )
    oldest = GaugeMetricFamily(
        "autopack_oldest_waiting_seconds", "How long the oldest of them has waited.", labels=["kind"]
    )
    for kind, one in waiting.items():
        counts.add_metric([kind], one.count)
        oldest.add_metric([kind], one.oldest_seconds)
    yield counts
    yield oldest


def _standing(projections: Sequence[ProjectionStatus]) -> Iterator[Metric]:
    labels = ["projection", "topic", "partition"]
    lag = GaugeMetricFamily("autopack_projection_lag", "Offsets yet to be read.", labels=labels)
    stopped = GaugeMetricFamily(
        "autopack_projection_stopped", "1 where a projection stands still at a record.", labels=labels
    )
    for one in projections:
        named = [one.projection, one.topic, str(one.partition)]
        lag.add_metric(named, one.lag)
        stopped.add_metric(named, one.standing in (Standing.STOPPED, Standing.AHEAD))
    yield lag
    yield stopped


def _services(statuses: Iterable[ServiceStatus]) -> Iterator[Metric]:
    ready = GaugeMetricFamily("autopack_service_ready", "1 where a service here is.", labels=["service"])
    alarms = GaugeMetricFamily("autopack_service_alarms", "What somebody must look at.", labels=["service"])
    for status in statuses:
        ready.add_metric([status.name], status.is_ready)
        alarms.add_metric([status.name], len(status.alarms))
    yield ready
    yield alarms
