"""The supervisor, put together."""

from services.awaiting import Awaited
from services.compose.application import Application, Service
from services.logs import log_name
from services.supervisor.judging import Limits
from services.supervisor.snapshots import Snapshots
from services.supervisor.supervisor import Supervisor
from services.watchdog import watched


def add_supervisor(application: Application, log: Awaited) -> None:
    """Add the supervisor, which begins when the log is open."""
    settings = application.settings
    snapshots = Snapshots(application.store, log_name(settings, application.servers))
    limits = Limits(settings.runs_at_once, settings.repository)
    application.add(
        Service.SUPERVISOR,
        lambda status: watched(application.log, status, Supervisor(application.log, snapshots, limits, status)),
        log,
    )
