"""I2: an apply request leads to one commit at most, and ends applied or refused."""

from collections.abc import Iterator, Mapping, Sequence

from faults.invariants.evidence import Commit, Evidence, Record


def violations(evidence: Evidence) -> Iterator[str]:
    """Requests with several commits or none of an end, and commits that are not what the history says."""
    commits = _commits(evidence)
    requests = {record.id: record for record in evidence.log.history if record.name == "ApplyRequested"}
    ends = _ends(evidence.log.history)
    for request_id, request in requests.items():
        made = commits.get(request_id, {})
        if len(made) > 1:
            yield f"{request} has {len(made)} commits: {', '.join(sorted(made))}"
        if not ends.get(request_id):
            yield f"{request} is neither applied nor refused, and nothing has ended it"
        for accepted in ends.get(request_id, ()):
            if accepted.name == "PatchAccepted":
                yield from _false_words(accepted, made)
    for request_id in commits.keys() - requests.keys():
        for commit, where in commits[request_id].values():
            yield f"commit {commit.id} in {where} was made for {request_id}, which nobody has asked for"


Made = Mapping[str, tuple[Commit, str]]
"""Commits by their ids, each with the repository that holds it."""


def _commits(evidence: Evidence) -> Mapping[str, Made]:
    """The commits made for each request, in whatever repository they lie."""
    found: dict[str, dict[str, tuple[Commit, str]]] = {}
    for repository in (*evidence.mirrors, *evidence.repositories):
        for commit in repository.commits.values():
            if "Event" in commit.trailers:
                made = found.setdefault(commit.trailers["Event"], {})
                made[commit.id] = (commit, str(repository.path))
    return found


def _ends(history: Sequence[Record]) -> Mapping[str, list[Record]]:
    """What ends each request: an answer, its revocation, or its time."""
    found: dict[str, list[Record]] = {}
    for record in history:
        if (
            record.name in ("PatchAccepted", "PatchRejected", "WorkRevoked", "DeadlinePassed")
            and record.request_id
        ):
            found.setdefault(record.request_id, []).append(record)
    return found


def _false_words(accepted: Record, made: Made) -> Iterator[str]:
    """A mirror may be gone; a commit that is there has to be the one of which the history speaks."""
    for commit, where in made.values():
        told = accepted.data
        if (commit.id, commit.tree, commit.parents) != (told["candidate"], told["tree"], (told["parent"],)):
            yield f"{accepted} names candidate {told['candidate']}, and {where} holds {commit.id} for it"
