"""Rules on what stands in files: what should not be there, or cannot be seen."""

import re
from collections.abc import Iterator

from services.policy.change import FileChange, ProposedChange
from services.policy.policy import Policy, Violation, violation
from services.policy.secrets import secret_in

_MARKER = re.compile(rb"(?:<{7}|>{7}|\|{7})(?: |\r?\Z)")
_POINTER_START = b"version https://git-lfs.github.com/spec/"
# Escape sequences and the like: a terminal acts on them, and a reader sees nothing.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_BIDIRECTIONAL = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TAGS = re.compile("[\U000e0000-\U000e0fff]|[\ufe00-\ufe0f]{2,}")
# Joiners between visible characters outside ASCII belong to emoji and to some scripts.
_SHAPELESS = re.compile(
    "[\u200b\u2060-\u2064\u206a-\u206f\u115f\u1160\u3164\uffa0\ufff9-\ufffb\u180e]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)


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


def hidden_text(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Added text that a reader does not see, or sees in another order."""
    for file in change.files:
        found = next(_hidden(file), None)
        if found is not None:
            number, kind = found
            yield violation(
                "hidden_text",
                file.path,
                f"A line holds {kind}.",
                "Write it as an escape, or leave it out.",
                number,
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


def _hidden(file: FileChange) -> Iterator[tuple[int, str]]:
    for line in file.added:
        if line.content.isascii() and _CONTROL.search(line.text) is None:
            continue
        text = line.text.rstrip("\r")
        if line.number == 1:
            text = text.removeprefix("\ufeff")
        kind = _hidden_kind(text)
        if kind is not None:
            yield line.number, kind


def _hidden_kind(text: str) -> str | None:
    if _CONTROL.search(text):
        return "control characters"
    if _BIDIRECTIONAL.search(text):
        return "characters that turn the direction of text"
    if _TAGS.search(text):
        return "tag characters or variation selectors, which carry text that is not shown"
    if _SHAPELESS.search(text) or "\ufeff" in text:
        return "characters without a shape"
    return None
