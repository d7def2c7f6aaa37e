"""Beside I1 to I8: no agent is started again for what was answered, and none without a claim of its own."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from faults.invariants.evidence import ANSWERS, Evidence, Record, Start

HEARSAY = timedelta(seconds=5)
"""An answer of another instance is heard of a while after it was written; an agent may start within that."""
STARTING = timedelta(seconds=5)
"""From what was last known of the own claim, which is no older than two seconds, to the agent's first word."""
RECALLING = timedelta(seconds=2)
"""From looking for what an earlier instance kept to when the log takes the own claim."""
ROLES = {"BuildRequested": "builder", "AuditRequested": "auditor"}
_ANSWERS = {answer for request in ROLES for answer in ANSWERS[request]}
_CLONE = re.compile(r"/work/([^/]+?)(?:-[0-9a-f]{8})?/")
"""A builder's clone lies in a folder that is named by its claim, and by eight digits for the try."""

Key = tuple[str, str, str, int]
"""Role, run id, phase and attempt: what an agent knows of its request."""


def violations(evidence: Evidence) -> Iterator[str]:
    """Starts that nobody had asked for any more, under no claim that stood, or more of them than claims."""
    starts: dict[Key, list[Start]] = {}
    for start in evidence.starts:
        starts.setdefault((start.role, start.run_id, start.phase_id, start.attempt), []).append(start)
    history = evidence.log.history
    requests, answers = _requests(history), _answered(history)
    claims = _counted(history, {"WorkStarted"})
    for key, found in starts.items():
        asked = requests.get(key, [])
        claimed = sum(claims.get(request.id, 0) for request in asked)
        if len(found) > claimed:
            yield f"the agent of {_named(key)} was started {len(found)} times, and claimed {claimed} times"
        if len(found) > len(asked) and key[0] not in evidence.disturbed:
            yield f"the agent of {_named(key)} was started {len(found)} times, and nobody had disturbed it"
        # Audits of one attempt look alike to their agents: the last of them says when all were answered.
        times = [answers.get(request.id) for request in asked]
        if times and None not in times:
            last = max(time for time in times if time is not None)
            for late in (start for start in found if start.at > last + HEARSAY):
                yield f"the agent of {_named(key)} was started at {late.at}, and had been answered at {last}"
    yield from _unclaimed(starts, requests, history)
    yield from _paid_twice(starts, requests, evidence)


def _unclaimed(
    starts: Mapping[Key, Sequence[Start]], requests: Mapping[Key, Sequence[Record]], history: Sequence[Record]
) -> Iterator[str]:
    """Starts under a claim that is another request's or nobody's, or that another had replaced by then, and more
    than one under one claim.
    """
    claims = {record.id: record for record in history if record.name == "WorkStarted"}
    replaced = {str(claim.data.get("replaces")): claim.recorded_at for claim in claims.values()}
    under = Counter(folder[1] for found in starts.values() for s in found if (folder := _CLONE.search(s.folder)))
    yield from (
        f"agents were started {count} times under claim {one}" for one, count in under.items() if count > 1
    )
    for key, found in starts.items():
        own = {request.id for request in requests.get(key, ())}
        for start in found:
            if (folder := _CLONE.search(start.folder)) is None:
                continue
            claim = claims.get(folder[1])
            if claim is None or claim.request_id not in own:
                yield f"the agent of {_named(key)} was started under {folder[1]}, which is no claim of its request"
            elif claim.id in replaced and start.at > replaced[claim.id] + STARTING:
                yield (
                    f"the agent of {_named(key)} was started at {start.at} under claim {claim.id}, "
                    f"which had been replaced at {replaced[claim.id]}"
                )


def _paid_twice(
    starts: Mapping[Key, Sequence[Start]], requests: Mapping[Key, Sequence[Record]], evidence: Evidence
) -> Iterator[str]:
    """Starts by whoever could have had the answer that somebody before had kept.

    Of an auditor it is not known under which claim it was started, but when.
    """
    claims = {record.id: record for record in evidence.log.history if record.name == "WorkStarted"}
    for key, found in starts.items():
        asked = requests.get(key, ())
        for start in found:
            folder = _CLONE.search(start.folder)
            claim = claims.get(folder[1]) if folder is not None else None
            if claim is not None:
                kept, since = evidence.kept.get(str(claim.request_id)), claim.recorded_at - RECALLING
            elif folder is None and len(asked) == 1:
                kept, since = evidence.kept.get(asked[0].id), start.at - RECALLING - STARTING
            else:
                continue
            if kept is not None and kept < since:
                yield f"the agent of {_named(key)} was started at {start.at}, and its answer was kept at {kept}"


def _named(key: Key) -> str:
    role, run_id, phase_id, attempt = key
    return f"{role} for run {run_id}, phase {phase_id}, attempt {attempt}"


def _requests(history: Sequence[Record]) -> Mapping[Key, list[Record]]:
    found: dict[Key, list[Record]] = {}
    for record in history:
        if record.name in ROLES:
            key = (ROLES[record.name], record.run[1], record.data["phase_id"], record.data["attempt"])
            found.setdefault(key, []).append(record)
    return found


def _counted(history: Sequence[Record], names: set[str]) -> Mapping[str, int]:
    """How many events of these names there are for each request."""
    found: dict[str, int] = {}
    for record in history:
        if record.name in names and record.request_id is not None:
            found[record.request_id] = found.get(record.request_id, 0) + 1
    return found


def _answered(history: Sequence[Record]) -> Mapping[str, datetime]:
    """When the history took the answer of each request, by the log's clock."""
    found: dict[str, datetime] = {}
    for record in history:
        if record.name in _ANSWERS and record.request_id is not None:
            found.setdefault(record.request_id, record.recorded_at)
    return found
