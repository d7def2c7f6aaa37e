"""The names of the refs that a run owns in its target repository."""

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def integration_branch(run_id: str) -> str:
    """The branch that collects the run's green commits, without `refs/heads/`."""
    return f"autonomous/{run_id}"


def snapshot_tag(run_id: str, tier_id: str, phase_id: str) -> str:
    """The tag of a phase's snapshot, without `refs/tags/`; what a ref cannot hold is percent-encoded."""
    return f"autonomous/{run_id}/tier-{_encoded(tier_id)}/phase-{phase_id}"


def _encoded(text: str) -> str:
    """Dots are encoded too, where git refuses them: first, last, doubled, or before `lock`."""
    awkward = text.startswith(".") or text.endswith((".", ".lock")) or ".." in text
    kept = _PLAIN if awkward else _PLAIN | {"."}
    return "".join(c if c in kept else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)
