"""The issue family."""

from events.families.base import EventData, Path, Text


class IssueReported(EventData):
    """Somebody noticed something in a phase."""

    phase_id: str
    issue_key: Text
    severity: Text
    source: Text
    category: Text = ""
    task_category: Text | None = None
    complexity: Text | None = None
    message: Text = ""
    paths: tuple[Path, ...] = ()
    evidence_refs: tuple[Text, ...] = ()
    expected_fail: bool = False


class IssueRecorded(EventData):
    """An issue counts from here on, with the severity that applies."""

    phase_id: str
    tier_id: str
    issue_key: Text
    severity: Text
    effective_severity: Text
    source: Text
    category: Text = ""
    task_category: Text | None = None
    complexity: Text | None = None
    message: Text = ""
    paths: tuple[Path, ...] = ()
    evidence_refs: tuple[Text, ...] = ()
    expected_fail: bool = False
