"""Changes to be judged by the policy, made by hand."""

from services.policy.change import (
    ABSENT,
    REGULAR,
    Blob,
    FileChange,
    ProposedChange,
    file_change,
)
from services.policy.judge import judge
from services.policy.policy import Policy


def blob(content: bytes | str) -> Blob:
    """The content of a file."""
    raw = content.encode() if isinstance(content, str) else content
    return Blob(len(raw), raw)


def added(path: str | bytes, content: bytes | str = "x = 1\n", mode: int = REGULAR) -> FileChange:
    raw = path.encode() if isinstance(path, str) else path
    return file_change(raw, ABSENT, mode, None, blob(content))


def edited(
    path: str, old: bytes | str, new: bytes | str, modes: tuple[int, int] = (REGULAR, REGULAR)
) -> FileChange:
    return file_change(path.encode(), *modes, blob(old), blob(new))


def deleted(path: str, old: str = "x = 1\n") -> FileChange:
    return file_change(path.encode(), REGULAR, ABSENT, blob(old), None)


def proposed(
    *files: FileChange, besides: tuple[bytes, ...] = (), refused: tuple[bytes, ...] = ()
) -> ProposedChange:
    present = {file.path for file in files if not file.is_deleted}
    return ProposedChange(files, frozenset(present | set(besides)), refused)


def rules_broken(change: ProposedChange, policy: Policy | None = None) -> set[str]:
    return {violation.rule for violation in judge(change, policy or Policy())}
