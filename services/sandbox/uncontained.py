"""Jobs without a sandbox, where an operator allowed that: no protection, but nothing is left behind."""

import asyncio
import contextlib
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.processes import Command, Completed, Redactor, run, signal_group
from services.processes.finishing import in_any_case
from services.sandbox.environment import child_environment, chosen_secrets
from services.sandbox.job import Job
from services.sandbox.lending import Lending
from services.sandbox.ownership import remove_folder

MARKER = "AUTOPACK_JOB"
PROCESSES = Path("/proc")
MOST_SWEEPS = 100
SWEEPS_WITHOUT_A_FIND = 3
SWEEP_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Uncontained:
    """Runs each job as a plain process in a session of its own, and kills whatever carries its marker.

    A job sees its work folder where it lies. What is lent within it is copied there for as long as it runs.
    """

    environment: Mapping[str, str]
    name: str = "none"
    has_places: bool = False

    async def run(self, job: Job, stop: asyncio.Event | None = None) -> Completed:
        """Run a job to its end, or until `stop` is set; what it left running is found and killed.

        A process that wiped its environment and left the session is not found: only a sandbox holds it.
        Raises SecretMissing and SecretForbidden.
        """
        secret_values = chosen_secrets(self.environment, job.secrets)
        marker = secrets.token_hex(16)
        private = Path(tempfile.gettempdir()) / f"autopack-job-{marker}"
        variables = child_environment(self.environment, private, private, job.work_folder)
        environment = {**variables, **secret_values, **job.variables, MARKER: marker}
        lending = Lending(job.work_folder)
        within = [mount for mount in job.readonly if not mount.destination.is_absolute()]
        try:
            await in_any_case(asyncio.to_thread(private.mkdir, 0o700))
            await in_any_case(asyncio.to_thread(lending.copies, within))
            return await run(_command(job, environment, tuple(secret_values.values()), marker), stop)
        finally:
            await in_any_case(_clear_away(marker, private))
            await in_any_case(asyncio.to_thread(lending.take_away))

    def redactor(self, secrets: tuple[str, ...]) -> Redactor:
        """Give what takes these secrets out of other things that a job wrote."""
        return Redactor(chosen_secrets(self.environment, secrets).values())


def _command(job: Job, environment: Mapping[str, str], values: tuple[str, ...], marker: str) -> Command:
    def send_signal(pid: int, number: signal.Signals) -> None:
        signal_group(pid, number)
        if number is signal.SIGKILL:
            _kill_marked(marker)

    return Command(
        argv=job.argv,
        folder=job.work_folder,
        environment=environment,
        stdin=job.stdin,
        limit_seconds=job.limit_seconds,
        idle_seconds=job.idle_seconds,
        grace_seconds=job.grace_seconds,
        output_cap_bytes=job.output_cap_bytes,
        secrets=values,
        on_line=job.on_line,
        send_signal=send_signal,
    )


async def _clear_away(marker: str, private: Path) -> None:
    """Kill whatever carries the marker, until none has been seen for a while, and remove the job's home.

    One look is not enough: a process that is just executing a program has no environment to be seen.
    """
    unseen = 0
    for _ in range(MOST_SWEEPS):
        unseen = 0 if await asyncio.to_thread(_kill_marked, marker) else unseen + 1
        if unseen == SWEEPS_WITHOUT_A_FIND:
            break
        await asyncio.sleep(SWEEP_PAUSE_SECONDS)
    with contextlib.suppress(OSError):
        await asyncio.to_thread(remove_folder, private)


def _kill_marked(marker: str) -> bool:
    """Kill every process that shows the marker in its environment; say whether there was any."""
    found = list(_marked(f"{MARKER}={marker}".encode()))
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _marked(marker: bytes) -> Iterator[int]:
    for folder in PROCESSES.iterdir() if PROCESSES.is_dir() else ():
        if not folder.name.isdecimal():
            continue
        # A process that ends while we look, and one of another user, are not ours to kill.
        with contextlib.suppress(OSError):
            if marker in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
