"""I6: no process, clone, sandbox, quarantine or lock is left, and no transaction stands open."""

from collections.abc import Iterator

from faults.invariants.evidence import Evidence


def violations(evidence: Evidence) -> Iterator[str]:
    """Whatever is left."""
    found = evidence.leftovers
    yield from (f"{process} is left" for process in found.processes)
    yield from (f"{file} is left" for file in found.files)
    yield from (f"lock {lock} is held" for lock in found.locks)
    yield from (f"before anything was collected, {one}" for one in found.early)
    for repository in (*evidence.repositories, *evidence.mirrors):
        yield from (f"{lock} is left" for lock in repository.locks)
    yield from (f"a transaction stands open: {told}" for told in evidence.log.unsettled)
