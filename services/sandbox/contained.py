"""Jobs in bubblewrap."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from services.processes import Command, Completed, Ending, Redactor, run
from services.processes.finishing import in_any_case
from services.processes.stdin import input_file
from services.sandbox.bubblewrap import bubblewrap_arguments
from services.sandbox.environment import child_environment, chosen_secrets, search_path
from services.sandbox.job import Job, SandboxUnavailable
from services.sandbox.lending import Lending
from services.sandbox.lifeline import Lifeline, lifeline
from services.sandbox.namespace import Namespace, watched_namespace
from services.sandbox.ownership import lend_folder, take_back_folder, user_for_sandbox
from services.sandbox.specification import DEFAULT_LIMITS, HOME, Limits, Mount, SandboxSpec, SystemLayout, Tools
from services.sandbox.view import Needs, View, needs_of, view_of

TEMPORARY = Path("/tmp")


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """Runs each job in a bubblewrap sandbox of its own.

    `environment` is the service's, from which little is passed on; `hidden_paths` are the folders of the
    services (their home, the artifacts, the run files), which show in no sandbox unless a job names them.
    """

    name: str
    tools: Tools
    system: SystemLayout
    environment: Mapping[str, str]
    hidden_paths: tuple[Path, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    has_places: bool = True

    async def run(self, job: Job, stop: asyncio.Event | None = None) -> Completed:
        """Run a job to its end, or until `stop` is set; every process of it is dead afterwards.

        The work folder is lent to the user inside meanwhile. Raises SecretMissing, SecretForbidden, and
        SandboxUnavailable where this sandbox could not be made.
        """
        lending = Lending(job.work_folder)
        try:
            lent = await in_any_case(asyncio.to_thread(lending.mount_points, _within(job)))
            return await self._run(job, view_of(job, lent), stop)
        finally:
            await in_any_case(asyncio.to_thread(lending.take_away))

    async def _run(self, job: Job, view: View, stop: asyncio.Event | None) -> Completed:
        secrets = chosen_secrets(self.environment, job.secrets)
        needs = await asyncio.to_thread(needs_of, job, view, search_path(self.environment))
        if needs is None:
            return Completed(Ending.FAILED_TO_START, f"no such executable: {job.argv[0]}")
        variables = child_environment(self.environment, HOME, TEMPORARY, view.place)
        environment = {**variables, **secrets, **job.variables}
        uid = user_for_sandbox()
        async with _lent([job.work_folder, *job.writable_paths], uid):
            with (
                input_file(job.stdin) as command_input,
                watched_namespace() as (namespace, info),
                lifeline(command_input) as line,
                _accounts(uid) as accounts,
                _opened(self.system.files) as copied,
            ):
                files = {**copied, **accounts}
                spec = replace(self._spec(job, view, needs, uid, files, info), lifeline=line)
                command = _command(job, spec, environment, tuple(secrets.values()), namespace)
                try:
                    done = await run(command, stop)
                finally:
                    await in_any_case(namespace.ended())
        _check_made(done, line)
        return done

    def redactor(self, secrets: tuple[str, ...]) -> Redactor:
        """Give what takes these secrets out of other things that a job wrote."""
        return Redactor(chosen_secrets(self.environment, secrets).values())

    def _spec(
        self,
        job: Job,
        view: View,
        needs: Needs,
        uid: int | None,
        files: Mapping[Path, int],
        info: int,
    ) -> SandboxSpec:
        shown = [*self.system.folders, *self.system.files, *self.system.links, job.work_folder, view.place]
        visible = _mounts((*needs.paths, *job.readonly_paths), shown)
        return SandboxSpec(
            tools=self.tools,
            system=self.system,
            argv=(str(needs.executable), *job.argv[1:]),
            work_folder=job.work_folder,
            shown_at=view.place,
            readonly=(*visible, *view.lent),
            writable_paths=job.writable_paths,
            hidden_paths=tuple(path.resolve() for path in self.hidden_paths if path.is_dir()),
            network=job.network,
            uid=uid,
            limits=self.limits,
            data_files=files,
            info_descriptor=info,
        )


def _check_made(done: Completed, line: Lifeline) -> None:
    """Tell a sandbox that could not be made from a command that failed in it, whatever that has written."""
    if not line.was_heard and done.exit_code == 1 and done.stderr.head.startswith(b"bwrap: "):
        raise SandboxUnavailable(done.stderr.last_text(500))


def _within(job: Job) -> list[Mount]:
    return [mount for mount in job.readonly if not mount.destination.is_absolute()]


def _mounts(paths: Iterable[Path], showing: Iterable[Path]) -> Iterator[Mount]:
    """Leave out what shows anyway; of a link that shows, put what it points to where that lies."""
    shown = {*showing}

    def shows(path: Path) -> bool:
        return path in shown or not shown.isdisjoint(path.parents)

    for path in sorted(set(paths), key=lambda path: (len(path.parts), path)):
        target = path.resolve()
        place = target if shows(path) else path
        if not shows(place):
            shown.add(place)
            yield Mount(target, place)


def _command(
    job: Job,
    spec: SandboxSpec,
    environment: Mapping[str, str],
    secrets: tuple[str, ...],
    namespace: Namespace,
) -> Command:
    descriptors = [*(spec.data_files or {}).values()]
    if spec.info_descriptor is not None:
        descriptors.append(spec.info_descriptor)
    if spec.lifeline is not None:
        descriptors.append(spec.lifeline.command_input)
    return Command(
        argv=bubblewrap_arguments(spec),
        folder=Path("/"),
        environment=environment,
        stdin=job.stdin if spec.lifeline is None else spec.lifeline.line,
        limit_seconds=job.limit_seconds,
        idle_seconds=job.idle_seconds,
        grace_seconds=job.grace_seconds,
        output_cap_bytes=job.output_cap_bytes,
        secrets=secrets,
        on_line=job.on_line,
        pass_descriptors=tuple(descriptors),
        send_signal=namespace.send_signal,
    )


@contextlib.asynccontextmanager
async def _lent(folders: list[Path], uid: int | None) -> AsyncIterator[None]:
    try:
        for folder in folders:
            await in_any_case(asyncio.to_thread(lend_folder, folder, uid))
        yield
    finally:
        for folder in folders:
            await in_any_case(asyncio.to_thread(take_back_folder, folder, uid))


@contextlib.contextmanager
def _accounts(uid: int | None) -> Iterator[Mapping[Path, int]]:
    """Write the files that give the user inside a name, which many programs want to know."""
    user, group = (os.geteuid(), os.getegid()) if uid is None else (uid, uid)
    texts = {
        Path("/etc/passwd"): f"root:x:0:0::/:/bin/sh\nautopack:x:{user}:{group}::{HOME}:/bin/sh\n",
        Path("/etc/group"): f"root:x:0:\nautopack:x:{group}:\n",
    }
    with contextlib.ExitStack() as files:
        yield {path: files.enter_context(input_file(text.encode())) for path, text in texts.items()}


@contextlib.contextmanager
def _opened(files: Iterable[Path]) -> Iterator[Mapping[Path, int]]:
    """Open those files that are there for everybody: what is root's alone is no business of a job's."""
    with contextlib.ExitStack() as opened:
        found = {}
        for file in files:
            with contextlib.suppress(OSError):
                descriptor = opened.enter_context(file.open("rb")).fileno()
                if os.fstat(descriptor).st_mode & stat.S_IROTH:
                    found[file] = descriptor
        yield found
