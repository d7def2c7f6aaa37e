"""The names of our refs. What a ref cannot hold is percent-encoded, so every id has one name."""

import re

_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]|^\.|\.$|\.(?=\.)|\.(?=lock$)")


def encoded(text: str) -> str:
    """An id as one component of a ref's name; different ids stay different."""
    return _UNSAFE.sub(lambda found: b"%%%02X" % found.group()[0], text.encode()).decode()


def candidate_reference(run_id: str, phase_id: str, request_id: str) -> str:
    """Where the mirror keeps the candidate made for one ApplyRequested."""
    return f"refs/autopack/{encoded(run_id)}/{encoded(phase_id)}/{encoded(request_id)}"


def base_reference(commit: str) -> str:
    """Where the mirror keeps a base commit that it has fetched."""
    return f"refs/bases/{commit}"


def branch_reference(run_id: str) -> str:
    """The integration branch of a run, at the target."""
    return f"refs/heads/autonomous/{encoded(run_id)}"


def tag_reference(run_id: str, tier_id: str, phase_id: str) -> str:
    """The snapshot tag of a phase, at the target."""
    return f"refs/tags/{tag_name(run_id, tier_id, phase_id)}"


def tag_name(run_id: str, tier_id: str, phase_id: str) -> str:
    """The short name of a phase's snapshot tag."""
    return f"autonomous/{encoded(run_id)}/tier-{encoded(tier_id)}/phase-{encoded(phase_id)}"


def fence_reference(run_id: str) -> str:
    """Where the claim stands that alone may move the refs of a run, at the target."""
    return f"refs/autopack/fence/{encoded(run_id)}"
