"""Rules on what stands in files and should not be there."""

import re
from collections.abc import Iterator

from services.policy.change import ProposedChange
from services.policy.policy import Policy, Violation, violation
from services.policy.secrets import secret_in

_MARKER = re.compile(rb"(?:<{7}|>{7}|\|{7})(?: |\r?\Z)")
_POINTER_START = b"version https://git-lfs.github.com/spec/"


def conflict_markers(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Lines that a merge left."""
    for file in change.files:
        line = next((line for line in file.added if _MARKER.match(line.content)), None)
        if line is not None:
            yield violation(
                "conflict_marker", file.path, "A line is a conflict marker.", "Settle the conflict.", line.number
            )


def large_file_pointers(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Pointers to files in a large file store: what they stand for is not here to be judged."""
    for file in change.files:
        if file.new is not None and file.new.content is not None and file.new.content.startswith(_POINTER_START):
            yield violation(
                "lfs_pointer", file.path, "This is a pointer to a file kept elsewhere.", "Bring the file itself."
            )


def secrets(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Added lines that hold a key or token. The message never repeats it."""
    for file in change.files:
        for line in file.added:
            kind = secret_in(line.text)
            if kind is not None:
                yield violation(
                    "secret",
                    file.path,
                    f"A line looks like {kind}.",
                    "Take it out, and read it from the environment.",
                    line.number,
                )
