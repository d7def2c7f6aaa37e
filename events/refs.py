"""The names of the refs that a run owns. What a ref cannot hold is percent-encoded: every id has one name."""

import re
from hashlib import sha256

LONGEST_BYTES = 200
"""Of an encoded id: a component of a ref's name is a file's name, which holds 255 bytes with all around it."""

_DIGEST_DIGITS = 32
_CUT_ESCAPE = re.compile("%.?$")
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]|^\.|\.$|\.(?=\.)|\.(?=lock$)")


def encoded(text: str) -> str:
    """An id as one component of a ref's name; different ids stay different.

    Of one that would be too long a digest stands for the end, behind `%-`, which occurs nowhere else.
    """
    name = _UNSAFE.sub(lambda found: b"%%%02X" % found.group()[0], text.encode()).decode()
    if len(name) <= LONGEST_BYTES:
        return name
    digest = f"%-{sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]}"
    return _CUT_ESCAPE.sub("", name[: LONGEST_BYTES - len(digest)]) + digest


def integration_branch(run_id: str) -> str:
    """The branch that collects the run's green commits, without `refs/heads/`."""
    return f"autonomous/{encoded(run_id)}"


def snapshot_tags(run_id: str) -> str:
    """What the tags of all of a run's snapshots begin with, before a slash."""
    return f"autonomous/{encoded(run_id)}"


def snapshot_tag(run_id: str, tier_id: str, phase_id: str) -> str:
    """The tag of a phase's snapshot, without `refs/tags/`."""
    return f"{snapshot_tags(run_id)}/tier-{encoded(tier_id)}/phase-{encoded(phase_id)}"
