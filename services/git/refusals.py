"""Telling a target that refuses from one that is away, or that was busy, by what git says of it."""

import re

_REJECTED = re.compile(r"\[remote rejected\][^\n]*\(([^\n]*)\)")
# What receive-pack says when another push was in its way, or its disk or network was: that passes.
_PASSING = re.compile(
    r"atomic|transaction|failed to (?:update|lock|write)|cannot lock ref|already exists|stale|fetch first"
    r"|unpack|migrate|missing necessary objects|internal|time|unavailable|try again",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"exists; cannot create|permission denied|permission to \S+ denied|insufficient permission"
    r"|read-only file system|not allowed to push|returned error: 40[13]\b",
    re.IGNORECASE,
)


def is_refusal(stderr: str) -> bool:
    """Whether asking again would be answered alike, until somebody gives a right or changes a rule."""
    reasons = _REJECTED.findall(stderr)
    return any(not _PASSING.search(reason) for reason in reasons) or _REFUSED.search(stderr) is not None
