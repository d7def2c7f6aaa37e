"""`replay`: the state of a run folded again from its history, by the code that decides."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from msgspec import Struct
from pydantic import BaseModel

from events.codec import UnreadableRecord, read_history
from events.history import PartitionState, fold
from events.state import EndedRun, Project, Run
from services.cli.failures import Unsuccessful

BOOKKEEPING = frozenset({"admitted", "answered"})
"""Which records were seen: of no interest to a reader, and long."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a run's history folds to, up to a sequence. `run` is as it last stood before it ended."""

    project: str
    run_id: str
    sequence: int
    run: Run | None
    ended: EndedRun | None


async def replay(run_id: str, records: AsyncIterator[bytes], to: int | None) -> Replayed:
    """Fold the records of one run, up to and including a sequence. Raises Unsuccessful where the chain breaks."""
    state = PartitionState()
    found = Replayed("", run_id, -1, None, None)
    async for record in records:
        try:
            event = read_history(record)
            if to is not None and event.sequence > to:
                break
            state = fold(state, record)
        except UnreadableRecord as error:
            raise Unsuccessful(f"record {found.sequence + 1} cannot be read: {error}") from error
        forked = state.quarantined.get((event.project, run_id))
        if forked is not None:
            raise Unsuccessful(f"the run is in quarantine: {forked}")
        found = _after(found, state.project(event.project), event.sequence)
    return found


def _after(before: Replayed, project: Project, sequence: int) -> Replayed:
    run_id = before.run_id
    run = project.runs.get(run_id, before.run)
    return replace(before, project=project.project_id, sequence=sequence, run=run, ended=project.ended.get(run_id))


def as_document(replayed: Replayed) -> dict[str, Any]:
    """The folded state as JSON; what only keeps records from being taken twice is left out."""
    ended = replayed.ended
    return {
        "project": replayed.project,
        "run_id": replayed.run_id,
        "sequence": replayed.sequence,
        "state": _state(replayed),
        "run": jsonable(replayed.run),
        "ended": jsonable(ended),
    }


def _state(replayed: Replayed) -> str | None:
    if replayed.ended is not None:
        return replayed.ended.state
    return replayed.run.shown_state if replayed.run is not None else None


def jsonable(value: Any) -> Any:
    """Frozen values, maps and models as plain JSON."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case Mapping():
            return {_key(key): jsonable(item) for key, item in value.items()}
        case list() | tuple() | frozenset() | set():
            return [jsonable(item) for item in value]
        case Struct():
            names = [name for name in value.__struct_fields__ if name not in BOOKKEEPING]
            return {name: jsonable(getattr(value, name)) for name in names}
        case _:
            return value


def _key(key: Any) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
