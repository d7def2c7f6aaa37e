"""Integer ids that follow from content, so that a rebuild gives the same ones."""

from hashlib import sha256

_BITS = 53


def content_id(*parts: str) -> int:
    """A positive integer that JavaScript and JSON readers hold exactly: the first 53 bits of a SHA-256."""
    digest = sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - _BITS)


def run_row_id(project: str, run_id: str) -> int:
    """The integer id of a run."""
    return content_id("run", project, run_id)


def tier_row_id(project: str, run_id: str, tier_id: str) -> int:
    """The integer id of a tier."""
    return content_id("tier", project, run_id, tier_id)


def phase_row_id(project: str, run_id: str, phase_id: str) -> int:
    """The integer id of a phase."""
    return content_id("phase", project, run_id, phase_id)
