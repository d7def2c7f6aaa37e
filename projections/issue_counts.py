"""Issues count by distinct key, each with the highest severity that was ever given to it."""

from collections.abc import Mapping

MAJOR = "major"
MINOR = "minor"


def with_issue(issues: Mapping[str, str], key: str, severity: str) -> dict[str, str]:
    """Severities by key after one more report; a later report may raise a severity, never lower it."""
    standing = issues.get(key)
    return {**issues, key: MAJOR if MAJOR in (standing, severity) else severity}


def count(issues: Mapping[str, str], severity: str) -> int:
    """How many distinct keys have this severity."""
    return sum(1 for standing in issues.values() if standing == severity)


def issue_state(issues: Mapping[str, str]) -> str:
    """`no_issues`, `has_minor_issues` or `has_major_issues`."""
    if not issues:
        return "no_issues"
    return "has_major_issues" if count(issues, MAJOR) else "has_minor_issues"
