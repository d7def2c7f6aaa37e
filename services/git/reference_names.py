"""The names of our refs. What a ref cannot hold is percent-encoded, so every id has one name."""

from events.refs import encoded, integration_branch, snapshot_tag, snapshot_tags


def candidate_reference(run_id: str, phase_id: str, request_id: str) -> str:
    """Where the mirror keeps the candidate made for one ApplyRequested."""
    return f"refs/autopack/{encoded(run_id)}/{encoded(phase_id)}/{encoded(request_id)}"


def base_reference(commit: str) -> str:
    """Where the mirror keeps a base commit that it has fetched."""
    return f"refs/bases/{commit}"


def branch_reference(run_id: str) -> str:
    """The integration branch of a run, at the target."""
    return f"refs/heads/{integration_branch(run_id)}"


def tag_reference(run_id: str, tier_id: str, phase_id: str) -> str:
    """The snapshot tag of a phase, at the target."""
    return f"refs/tags/{snapshot_tag(run_id, tier_id, phase_id)}"


def tags_reference(run_id: str) -> str:
    """What the names of all snapshot tags of a run begin with, before a slash."""
    return f"refs/tags/{snapshot_tags(run_id)}"


def fence_reference(run_id: str) -> str:
    """Where the claim stands that alone may move the refs of a run, at the target."""
    return f"refs/autopack/fence/{encoded(run_id)}"
