"""The names of the refs that a run owns. What a ref cannot hold is percent-encoded: every id has one name."""

import re

_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]|^\.|\.$|\.(?=\.)|\.(?=lock$)")


def encoded(text: str) -> str:
    """An id as one component of a ref's name; different ids stay different."""
    return _UNSAFE.sub(lambda found: b"%%%02X" % found.group()[0], text.encode()).decode()


def integration_branch(run_id: str) -> str:
    """The branch that collects the run's green commits, without `refs/heads/`."""
    return f"autonomous/{encoded(run_id)}"


def snapshot_tag(run_id: str, tier_id: str, phase_id: str) -> str:
    """The tag of a phase's snapshot, without `refs/tags/`."""
    return f"autonomous/{encoded(run_id)}/tier-{encoded(tier_id)}/phase-{encoded(phase_id)}"
