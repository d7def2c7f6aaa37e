"""What can be wrong with git or a repository, each named as a fact."""

from collections.abc import Sequence


class GitFailure(Exception):
    """Git could not do what was asked."""

    def __init__(self, detail: str = "") -> None:
        summary = (self.__doc__ or "").splitlines()[0]
        super().__init__(f"{summary} {detail}".rstrip())
        self.detail = detail


class GitFailed(GitFailure):
    """A git process ended with an exit code that was not expected."""

    def __init__(self, arguments: Sequence[str], exit_code: int, stderr_tail: str) -> None:
        super().__init__(f"git {' '.join(arguments[:6])} ({exit_code}): {stderr_tail.strip()}")
        self.arguments = tuple(arguments)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail


class GitMissing(GitFailure):
    """There is no git program on this machine."""


class GitTimedOut(GitFailure):
    """A git process passed its time limit and was killed."""


class GitOutputTooLarge(GitFailure):
    """A git process wrote more than its output limit and was killed."""


class RepositoryMissing(GitFailure):
    """There is no git repository at this address."""


class RepositoryUnsupported(GitFailure):
    """This address or repository is of a kind that is not served."""


class RepositoryUnreachable(GitFailure):
    """The repository could not be read."""


class RepositoryEmpty(GitFailure):
    """The repository has no commit yet."""


class BaseMissing(GitFailure):
    """The repository has no such base."""


class ConfigurationUnreadable(GitFailure):
    """The autopack.toml at the base commit is not a readable text file."""


class CommitMissing(GitFailure):
    """The mirror does not hold this commit."""


class WorkTreeUnreadable(GitFailure):
    """The agent's work tree cannot be read."""


class PatchTooLarge(GitFailure):
    """The patch unpacks to more than the limit."""


class FenceUnreadable(GitFailure):
    """The fence stands at an object that is not to be had."""


class ReferenceLocked(GitFailure):
    """Somebody else holds the lock of a ref."""
