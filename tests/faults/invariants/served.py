"""I4: what is served, tables and run files, is what a rebuild from the log makes, and all of it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from faults.invariants.evidence import HISTORY, REJECTIONS, TERMINAL, Evidence, Log, ReadModels, Rows

MOST_NAMED = 5
"""Of rows that differ in one table."""
_KEYS = (
    "project",
    "run_id",
    "phase_id",
    "tier_id",
    "sequence",
    "request_id",
    "partition",
    "log_offset",
    "rejected",
)


def violations(evidence: Evidence) -> Iterator[str]:
    """Rows and files that differ, projections that stand still or lag behind, and tables that leave out events."""
    models, log = evidence.read_models, evidence.log
    if models.failure is not None:
        yield f"the read models cannot be made again: {models.failure}"
        return
    if log.history and not models.served:
        yield "there are no read models"
    for table in models.rebuilt:
        yield from _rows(table, models)
    yield from _files(models)
    yield from _standing(models, log)
    yield from _told(models.served, log)


def _rows(table: str, models: ReadModels) -> Iterator[str]:
    served, rebuilt = models.served.get(table, Counter()), models.rebuilt[table]
    here, there = _by_name(served - rebuilt), _by_name(rebuilt - served)
    differing = sorted(here.keys() | there.keys())
    for name in differing[:MOST_NAMED]:
        yield f"table {table}, row of {name}: {_difference(here.get(name), there.get(name))}"
    if len(differing) > MOST_NAMED:
        yield f"table {table} has {len(differing) - MOST_NAMED} rows more that differ from a rebuild's"


def _by_name(rows: Counter[str]) -> Mapping[str, Mapping[str, Any]]:
    read = (json.loads(row) for row in rows)
    return {", ".join(f"{key} {row[key]}" for key in _KEYS if row.get(key) is not None): row for row in read}


def _difference(served: Mapping[str, Any] | None, rebuilt: Mapping[str, Any] | None) -> str:
    if served is None or rebuilt is None:
        return "a rebuild does not make it" if rebuilt is None else "it is missing"
    columns = (name for name in served if served[name] != rebuilt.get(name))
    return "; ".join(f"{name} is {served[name]!r}, rebuilt {rebuilt.get(name)!r}"[:200] for name in columns)


def _files(models: ReadModels) -> Iterator[str]:
    served, rebuilt = models.served_files, models.rebuilt_files
    for path in sorted(served.keys() | rebuilt.keys()):
        if path not in served:
            yield f"run file {path} is missing"
        elif path not in rebuilt:
            yield f"run file {path} is there, and a rebuild does not make it"
        elif served[path] != rebuilt[path]:
            yield f"run file {path} differs from its rebuild"


def _standing(models: ReadModels, log: Log) -> Iterator[str]:
    for one in models.checkpoints:
        if one.error is not None:
            yield f"projection {one.projection} of {one.topic}/{one.partition} has stopped {one.error}"
    yield from lagging(models, log)
    for run, why in models.quarantined.items():
        yield f"run {'/'.join(run)} is in quarantine: {why}"


def lagging(models: ReadModels, log: Log) -> list[str]:
    """Which projections have yet to read something, and have not stopped."""
    last = {(r.topic, r.partition): r.offset for r in log.records if r.topic in (HISTORY, REJECTIONS)}
    behind = [
        f"projection {one.projection} has read {one.topic}/{one.partition} up to {one.next_offset} alone"
        for one in models.checkpoints
        if one.error is None and one.next_offset <= last.get((one.topic, one.partition), -1)
    ]
    read = {(one.topic, one.partition) for one in models.checkpoints}
    return behind + [f"no projection has read {topic}/{number}" for topic, number in last.keys() - read]


def _told(served: Rows, log: Log) -> Iterator[str]:
    """What a rebuild might leave out as well: each event has its line, each refusal its row, each run its end."""
    timeline = Counter((r["partition"], r["log_offset"], r["event_id"]) for r in _read(served, "timeline"))
    for record in log.history:
        if not timeline.pop((record.partition, record.offset, record.id), 0):
            yield f"{record} is not in the timeline"
    for partition, offset, event_id in timeline:
        yield f"the timeline has event {event_id} at {HISTORY}/{partition}/{offset}, and the history has not"
    refused = {(r["partition"], r["log_offset"]) for r in _read(served, "rejections")}
    for record in log.of(REJECTIONS):
        if (record.partition, record.offset) not in refused:
            yield f"{record} is in no table of rejections"
    states = {(r["project"], r["run_id"]): r["state"] for r in _read(served, "runs")}
    for record in log.history:
        if record.name in TERMINAL and states.get(record.run) != record.data.get("state"):
            yield f"{record} says {record.data.get('state')}, and the table of runs {states.get(record.run)}"


def _read(served: Rows, name: str) -> Iterator[Mapping[str, Any]]:
    for table in served:
        if table.rpartition("_v")[0] == name:
            yield from (json.loads(row) for row in served[table].elements())
