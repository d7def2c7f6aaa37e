"""Failpoints: places where a service can be made to die, or to stop in its tracks until somebody has it go on, so
that tests can prove that nothing is lost there.

A service that is not armed passes each of them at the cost of one look into an empty dictionary.
"""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

BOTH_LOGS = frozenset({"kafka", "postgres"})


class Failpoint(Struct, frozen=True):
    """A place in the code: `module` holds the one call, `standing` says how things stand there.

    `services` are those that pass it, by the names that operators use, on one of `logs`.
    """

    name: str
    module: str
    services: frozenset[str]
    standing: str
    logs: frozenset[str] = BOTH_LOGS


def _point(name: str, module: str, standing: str, *services: str, logs: frozenset[str] = BOTH_LOGS) -> Failpoint:
    return Failpoint(name, module, frozenset(services), standing, logs)


_RUNNING = ("builder", "auditor", "verifier")
_WORKERS = (*_RUNNING, "applier")
_PARTITION = "services/supervisor/partition.py"
_BUILDER = "services/builder/builder.py"
_GOVERNING = "services/applier/governing.py"
_INTEGRATION = "services/git/integration.py"
_JOB = "services/runner/job.py"

FAILPOINTS = (
    _point("fenced", _PARTITION, "earlier writers fenced, history not folded", "supervisor"),
    _point("batch-read", _PARTITION, "records read, none decided", "supervisor"),
    _point("decided", _PARTITION, "a step decided, nothing of it appended", "supervisor"),
    _point(
        "sent",
        "events/log/kafka/writer.py",
        "a step sent within its transaction, not committed",
        "supervisor",
        logs=frozenset({"kafka"}),
    ),
    _point(
        "written",
        "events/log/postgres/writer.py",
        "a step, which is one statement, committed; no reader told, nor the supervisor",
        "supervisor",
        logs=frozenset({"postgres"}),
    ),
    _point("appended", _PARTITION, "a step committed, the records that it passed not deleted", "supervisor"),
    _point("snapshot-kept", _PARTITION, "a snapshot written", "supervisor"),
    _point("claimed", _BUILDER, "a build claimed, nothing begun", "builder"),
    _point("clone-made", _BUILDER, "a clone made, no agent started", "builder"),
    _point("work-running", "services/runner/output.py", "an agent or a check has begun to print", *_RUNNING),
    _point("diff-taken", _BUILDER, "the agent's change taken, not stored", "builder"),
    _point("verdict-read", "services/auditor/auditor.py", "a verdict read, not kept", "auditor"),
    _point("tree-made", "services/verifier/verifier.py", "a tree checked out, no check run", "verifier"),
    _point("result-kept", _JOB, "an answer kept, and on its way to the log or there already", *_RUNNING),
    _point("result-submitted", _JOB, "an answer submitted, not seen in the history", *_WORKERS),
    _point("commit-made", _GOVERNING, "a candidate made in quarantine, not judged", "applier"),
    _point("objects-written", _GOVERNING, "a candidate's objects in the mirror, no ref to them", "applier"),
    _point("candidate-set", _GOVERNING, "a candidate's ref set, no answer made", "applier"),
    _point("fence-set", _INTEGRATION, "the fence set at the target, the branch not moved", "applier"),
    _point("branch-moved", _INTEGRATION, "the integration branch moved, no tag made", "applier"),
    _point("tag-made", _INTEGRATION, "the tag made, no answer made", "applier"),
    _point(
        "pushed", "services/git/remote_target.py", "refs pushed to a target behind a URL, not heard", "applier"
    ),
    _point("rows-folded", "projections/lane.py", "rows made, nothing of them written", "projector"),
    _point("rows-committed", "projections/lane.py", "rows and checkpoint committed, nobody told", "projector"),
    _point(
        "files-renamed",
        "projections/run_files/keeper.py",
        "files of a run renamed, their checkpoint not moved",
        "projector",
    ),
    _point("command-submitted", "services/api/emitting.py", "a command in the log, not answered", "api"),
    _point("answer-half-sent", "services/api/streams.py", "an answer begun, its end not sent", "api"),
)
"""All of them. Where several services share a place, each that is armed dies there."""

_BY_NAME = {point.name: point for point in FAILPOINTS}
_armed: dict[str, list["_Strike"]] = {}
_passes: Counter[str] = Counter()
STOP = ":stop"
"""What the name of a point ends with where it is to be stopped at instead of died at."""
PASS = "@"
"""What the number of a pass follows, where a process is to let the ones before pass: `decided@3`."""
_PASS_NUMBER = re.compile("[1-9][0-9]{0,5}")


class _Strike(NamedTuple):
    """One death, or one stop: the file that says that it has been, the signal, and from which pass on."""

    record: Path
    number: signal.Signals
    first_pass: int


class FailpointUnknown(ValueError):
    """There is no such failpoint."""


def failpoint(name: str) -> None:
    """Die here by SIGKILL, or stop by SIGSTOP, where this process is armed and has not done so often enough.

    Whoever stops goes on from here when somebody sends SIGCONT, however late.
    """
    if name in _armed:
        _passes[name] += 1
        _strike_once(_armed[name], _passes[name])


def check_failpoints(names: Iterable[str]) -> None:
    """Raise FailpointUnknown where one of these is none."""
    for name in names:
        point, first_pass = _parts(name)
        if point not in _BY_NAME or not _PASS_NUMBER.fullmatch(first_pass):
            known = f"there are {', '.join(_BY_NAME)}, with `@` and numbers of passes from 1 on"
            raise FailpointUnknown(f"{name!r} is no failpoint; {known}")


def point_named(name: str) -> str:
    """The point in a name by which it is armed, without what is to happen there, and when."""
    return _parts(name)[0]


def _parts(name: str) -> tuple[str, str]:
    """The point in a name, and the number of the first pass that counts."""
    point, at, number = name.removesuffix(STOP).partition(PASS)
    return point, number if at else "1"


def arm(names: Iterable[str], folder: Path) -> None:
    """Arm this process. Each death leaves an empty file in `folder`, so a service that is started again goes on.

    A name given twice is to be died at twice, one with `:stop` behind it is to be stopped at; of one with `@3`
    behind it, before any `:stop`, each process lets two passes go by. Raises FailpointUnknown.
    """
    counted = Counter(names)
    check_failpoints(counted)
    _armed.clear()
    _passes.clear()
    for name, times in counted.items():
        number = signal.SIGSTOP if name.endswith(STOP) else signal.SIGKILL
        point, first_pass = _parts(name)
        strikes = [_Strike(folder / f"{name}.{count}", number, int(first_pass)) for count in range(1, times + 1)]
        _armed.setdefault(point, []).extend(strikes)
    if counted:
        folder.mkdir(parents=True, exist_ok=True)


def _strike_once(strikes: Iterable[_Strike], passes: int) -> None:
    """Leave the first record that is due and not there yet, and die or stop; several processes do so once each."""
    for strike in strikes:
        if passes < strike.first_pass:
            continue
        try:
            os.close(os.open(strike.record, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC))
        except FileExistsError:
            continue
        os.kill(os.getpid(), strike.number)
        return
