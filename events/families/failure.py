"""Why a piece of work failed, as a closed set that the decider can act on."""

from enum import StrEnum


class FailureClass(StrEnum):
    """The class of a failure; what it means for the attempt is decided by `ends_run` and the decider."""

    TIMEOUT = "timeout"
    IDLE = "idle"
    EXIT_CODE = "exit_code"
    NO_CHANGE = "no_change"
    BAD_ANSWER = "bad_answer"
    TOO_LARGE = "too_large"
    CONFLICT = "conflict"
    VIOLATIONS = "violations"
    RED_CHECKS = "red_checks"
    MOVED = "moved"
    DIVERGED = "diverged"
    REVOKED = "revoked"
    MISSING_AGENT = "missing_agent"
    NOT_LOGGED_IN = "not_logged_in"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    REPOSITORY_MISSING = "repository_missing"
    REPOSITORY_EMPTY = "repository_empty"
    REPOSITORY_UNREACHABLE = "repository_unreachable"
    BASE_MISSING = "base_missing"
    BRANCH_TAKEN = "branch_taken"
    TARGET_REFUSED = "target_refused"
    CONFIGURATION = "configuration"
    PREPARATION = "preparation"
    INTERNAL = "internal"

    @property
    def is_environment(self) -> bool:
        """Another attempt would meet the same obstacle: the run ends with DONE_FAILED_ENVIRONMENT."""
        return self in _ENVIRONMENT


_ENVIRONMENT = frozenset(
    {
        FailureClass.DIVERGED,
        FailureClass.MISSING_AGENT,
        FailureClass.NOT_LOGGED_IN,
        FailureClass.SANDBOX_UNAVAILABLE,
        FailureClass.REPOSITORY_MISSING,
        FailureClass.REPOSITORY_EMPTY,
        FailureClass.REPOSITORY_UNREACHABLE,
        FailureClass.BASE_MISSING,
        FailureClass.BRANCH_TAKEN,
        FailureClass.TARGET_REFUSED,
        FailureClass.CONFIGURATION,
        FailureClass.PREPARATION,
        FailureClass.INTERNAL,
    }
)
