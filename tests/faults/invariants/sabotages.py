"""Services with one thing broken on purpose: `python -m faults.invariants.sabotages` is `autopack up`, sabotaged.

Each sabotage falls on the runs of the project that has its name, and leaves all others alone.
"""

import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from events.decide.step import Step as Decision
from events.families.phase import PhaseCompleted
from events.families.run import RunCompleted
from events.log.port import NewRecord, Place, Step
from events.log.postgres.log import PostgresLog
from events.log.postgres.writer import PostgresPartitionWriter
from projections.metrics import METRICS
from projections.phases import PHASES
from services.agents import CommandDriver
from services.applier import applier as applier_module
from services.builder import builder as builder_module
from services.builder.builder import Builder
from services.cli import main
from services.git import integration as integration_module
from services.sandbox import find_bubblewrap
from services.settings import Settings
from services.supervisor.judging import Judge, Judgement
from support.repositories import ENVIRONMENT

_building: ContextVar[str] = ContextVar("building", default="")
"""The project for which the builder works."""


def unwritten() -> None:
    """The log acknowledges a submission and does not write it."""
    honest = PostgresLog.submit

    async def submit(log: Any, topic: Any, records: Sequence[NewRecord]) -> list[tuple[Place, int]]:
        if any(record.key == "unwritten" for record in records):
            return [(Place(topic, 0), 0) for _ in records]
        return await honest(log, topic, records)

    PostgresLog.submit = submit


def passed_over() -> None:
    """The supervisor reads a command, and neither admits nor refuses it."""
    honest = Judge.judge

    def judge(self: Judge, state: Any, record: Any) -> Judgement:
        return Judgement(state) if record.key == "passed-over" else honest(self, state, record)

    Judge.judge = judge


def committed_twice() -> None:
    """The applier makes another commit of the same request."""
    honest = applier_module.govern

    async def govern(candidates: Any, assignment: Any, data: Any) -> Any:
        accepted = await honest(candidates, assignment, data)
        if assignment.project == "committed-twice":
            mirror = await candidates.at_commit(data.repository, data.parent)
            message = _git(mirror.folder, "log", "-1", "--format=%B", accepted.candidate)
            _git(mirror.folder, "commit-tree", accepted.tree, "-p", accepted.parent, given=message)
        return accepted

    applier_module.govern = govern


Rewritten = Callable[[NewRecord], Sequence[NewRecord]]


def _rewriting(project: str, rewritten: Rewritten) -> None:
    """Have the writer of the history write something else instead of a record of the project."""
    honest = PostgresPartitionWriter.append

    async def append(writer: Any, step: Step) -> int:
        events = [new for one in step.events for new in (rewritten(one) if one.key == project else (one,))]
        return await honest(writer, replace(step, events=events))

    PostgresPartitionWriter.append = append


def _is(record: NewRecord, name: str) -> bool:
    return record.headers["type"].startswith(b"autopack.%s." % name.encode())


def written_twice() -> None:
    """The writer writes a record twice."""
    _rewriting("written-twice", lambda one: (one, one) if _is(one, "PhaseStarted") else (one,))


def answered_twice() -> None:
    """The writer writes an answer twice."""
    _rewriting("answered-twice", lambda one: (one, one) if _is(one, "SnapshotCreated") else (one,))


def left_out() -> None:
    """The writer leaves out the last record of a batch, which asks for a build."""
    _rewriting("left-out", lambda one: () if _is(one, "BuildRequested") else (one,))


def unchained() -> None:
    """The writer breaks the last link of the chain."""

    def broken(one: NewRecord) -> Sequence[NewRecord]:
        before, sign, after = one.value.partition(b'"prevhash":"')
        value = before + sign + b"0" * 64 + after[64:]
        return (structs.replace(one, value=value),) if _is(one, "RunCompleted") else (one,)

    _rewriting("unchained", broken)


def skipped_row() -> None:
    """The projector passes over an event."""
    honest = PHASES.project

    def project(rows: Any, entry: Any) -> Any:
        skips = entry.project == "skipped-row" and isinstance(entry.data, PhaseCompleted)
        return () if skips else honest(rows, entry)

    object.__setattr__(PHASES, "project", project)


def counted_twice() -> None:
    """The projector folds an event twice."""
    honest = METRICS.project

    def project(rows: Any, entry: Any) -> Any:
        found = list(honest(rows, entry))
        if entry.project == "counted-twice" and isinstance(entry.data, PhaseCompleted):
            return honest({METRICS.key_of(row): row for row in found}, entry)
        return found

    object.__setattr__(METRICS, "project", project)


def moved_main() -> None:
    """The applier moves a branch that is not its own."""
    honest = integration_module.move_branch

    async def move_branch(target: Any, order: Any, fence: Any) -> Any:
        moved = await honest(target, order, fence)
        if order.claim.project == "moved-main":
            _git(target.repository.git_dir, "update-ref", "refs/heads/main", order.commit)
        return moved

    integration_module.move_branch = move_branch


def rewound() -> None:
    """The applier sets its branch without looking where it stands: back to where it was."""
    honest = integration_module.make_tag

    async def make_tag(target: Any, order: Any, fence: Any) -> Any:
        made = await honest(target, order, fence)
        if order.claim.project == "rewound" and order.expected_head is not None:
            _git(target.repository.git_dir, "update-ref", order.branch, order.expected_head)
        return made

    integration_module.make_tag = make_tag


def left_behind() -> None:
    """The builder leaves its clone, a sandbox that holds a lock of its mirror, and a lock at the target."""
    work_folder = builder_module.work_folder

    @asynccontextmanager
    async def never_removed(folder: Path) -> AsyncIterator[Path]:
        if _building.get() == "left-behind":
            folder.mkdir(parents=True)
            yield folder
            _leave_a_sandbox(Settings().home_folder)
        else:
            async with work_folder(folder) as held:
                yield held

    builder_module.work_folder = never_removed
    honest = integration_module.make_tag

    async def make_tag(target: Any, order: Any, fence: Any) -> Any:
        if order.claim.project == "left-behind":
            (target.repository.git_dir / "refs" / "heads" / "main.lock").touch()
        return await honest(target, order, fence)

    integration_module.make_tag = make_tag


def _leave_a_sandbox(home: Path) -> None:
    """Its processes make a group of their own, whose number is written beside the home."""
    command = [str(find_bubblewrap()), *["--dev-bind", "/", "/", "--unshare-pid", "sleep", "600"]]
    with next(home.glob("mirrors/*/autopack/collection.flock")).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # which keeps nobody but whoever collects
        stray = subprocess.Popen(command, start_new_session=True, cwd="/", pass_fds=[lock.fileno()])
    home.with_name("stray").write_text(str(stray.pid))


def endless() -> None:
    """The supervisor never ends a run."""
    honest = Decision._due

    def due(step: Any, run_id: str) -> Any:
        found = honest(step, run_id)
        return None if isinstance(found, RunCompleted) and step.project.project_id == "endless" else found

    Decision._due = due


def started_twice() -> None:
    """The builder starts its agent twice for one claim."""
    honest = CommandDriver.build

    async def build(driver: Any, *given: Any) -> Any:
        if _building.get() == "started-twice":
            await honest(driver, *given)
        return await honest(driver, *given)

    CommandDriver.build = build


def _git(folder: Path, *arguments: str, given: str = "") -> str:
    command = ["git", "--git-dir", str(folder), *arguments]
    return subprocess.run(
        command, env=ENVIRONMENT, input=given, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def _told_of_projects() -> None:
    """Let what happens below the builder know for whom it works."""
    honest = Builder.perform

    async def perform(builder: Builder, assignment: Any) -> Any:
        _building.set(assignment.project)
        return await honest(builder, assignment)

    Builder.perform = perform


SABOTAGES: Mapping[str, Callable[[], None]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(unwritten, passed_over, committed_twice, written_twice, answered_twice, left_out, skipped_row),
        counted_twice,
        *(moved_main, rewound, left_behind, endless, unchained, started_twice),
    )
}
"""By the names of the projects on which they fall."""


if __name__ == "__main__":
    _told_of_projects()
    for sabotage in SABOTAGES.values():
        sabotage()
    sys.argv[1:] = ["up"]
    main()
