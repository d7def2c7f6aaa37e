"""Rules on size, of the change and of what it leaves."""

from collections.abc import Iterator, Sequence

from services.policy.change import FileChange, ProposedChange
from services.policy.policy import Limits, Policy, Violation, violation

_WHOLE = b"."


def change_sizes(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """How many files and bytes a change may bring, and how many files there may be after it."""
    limits, files = policy.limits, change.files
    binaries = sum(1 for file in files if file.new is not None and file.new.known_binary)
    facts = (
        ("changed_files", len(files), limits.changed_files, "files changed"),
        ("changed_bytes", sum(_new_size(file) for file in files), limits.changed_bytes, "bytes in changed files"),
        ("binary_files", binaries, limits.binary_files, "binary files"),
        ("result_files", len(change.result_paths), limits.result_files, "files in the result"),
    )
    for rule, found, limit, noun in facts:
        if found > limit:
            yield violation(
                rule, _WHOLE, f"{found} {noun}, where {limit} are allowed.", "Make the change smaller."
            )


def is_too_large(sizes_bytes: Sequence[int], limits: Limits) -> bool:
    """Whether a change that leaves files of these sizes (0: none) is refused, whatever stands in them."""
    return len(sizes_bytes) > limits.changed_files or sum(sizes_bytes) > limits.changed_bytes


def file_sizes(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """How large a file may be after the change, and how long its name and its new lines."""
    for file in change.files:
        if file.is_deleted:
            continue
        yield from _content_size(file, policy.limits)
        yield from _line_length(file, policy.limits)
        if len(file.path) > policy.limits.path_length_bytes:
            yield violation(
                "path_length", file.path, f"The path has {len(file.path)} bytes.", "Use a shorter one."
            )


def _content_size(file: FileChange, limits: Limits) -> Iterator[Violation]:
    size = _new_size(file)
    binary = file.new is not None and file.new.known_binary  # what was not read is too large for any file
    limit = min(limits.binary_size_bytes, limits.file_size_bytes) if binary else limits.file_size_bytes
    if size > limit:
        yield violation(
            "binary_size" if binary and size <= limits.file_size_bytes else "file_size",
            file.path,
            f"{size} bytes, where {limit} are allowed.",
            "Keep large and generated files out of the repository.",
        )


def _line_length(file: FileChange, limits: Limits) -> Iterator[Violation]:
    long = next((line for line in file.added if len(line.content) > limits.line_length_bytes), None)
    if long is not None:
        yield violation(
            "line_length",
            file.path,
            f"A line of {len(long.content)} bytes, where {limits.line_length_bytes} are allowed.",
            "Break long lines; keep minified code out.",
            long.number,
        )


def _new_size(file: FileChange) -> int:
    return 0 if file.new is None else file.new.size_bytes
