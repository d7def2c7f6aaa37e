"""What an auditor should see before a change goes further: weakened tests, binaries, text addressed to it."""

import re
from collections.abc import Iterator

from services.policy.binaries import is_unusual_binary
from services.policy.change import FileChange, Line, ProposedChange
from services.policy.disguise import shown
from services.policy.policy import Concern
from services.policy.recognised_tests import SKIP, is_test_file, is_test_settings, test_language

# Read with every stretch of white space as one space, so that no stretch can be divided in many ways.
_ADDRESSED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:ignore|disregard|forget|override) (?:(?:all|any|of|the|these|those|your|my) )*"
        r"(?:previous|prior|above|earlier|preceding|all|your|system) (?:\w+ )?"
        r"(?:instructions?|prompts?|rules|guidelines|messages?)\b",
        r"\b(?:reviewers?|auditors?|assistants?|ai|llms?|language models?|gpt|claude|codex)\b ?[:,!] ?"
        r"(?:please )?(?:you\b|approve|accept|ignore|skip|pass|mark|return|respond|answer|treat|note)",
        r"\b(?:note|message|attention|dear|instructions?) (?:(?:to|for) ?)?(?:the )?"
        r"(?:ai|llm|auditor|reviewer|model)s?\b",
        r"\b(?:approve|accept|lgtm) (?:this|the) (?:patch|change|diff|pull request|pr|code)\b",
        r"\bdo not (?:report|flag|mention|raise)\b.{0,40}\b(?:issue|finding|problem|change|this|vulnerabilit)",
        r"\byou are (?:now )?(?:an?|the) (?:\w+ ){0,2}"
        r"(?:auditor|reviewer|assistant|language model|ai)\b",
        r"[\"']?recommendation[\"']? ?[:=] ?[\"']approve",
        r"<\|(?:im_start|im_end|system|endoftext)\|>|\[/?INST\]|</?(?:system|assistant)(?:_prompt)?>",
        r"\b(?:system|developer) prompt\b.{0,40}\b(?:is|says|reveal|print|override|new)\b",
    )
)


def concerns(change: ProposedChange) -> tuple[Concern, ...]:
    """Everything in a change that should not pass without an audit."""
    found = [*_tests_removed(change), *_asserts_removed(change)]
    for file in change.files:
        found.extend(_in_file(file))
    return tuple(found)


def addresses_auditor(text: str) -> bool:
    """Whether a text speaks to whoever reviews it instead of doing its own work."""
    plain = " ".join(text.split())
    return any(pattern.search(plain) for pattern in _ADDRESSED)


def _in_file(file: FileChange) -> Iterator[Concern]:
    if file.is_deleted and is_test_file(file.path):
        yield _concern("test_file_removed", file, "A test file is deleted.")
    if is_test_settings(file.path):
        yield _concern("test_settings_changed", file, "The settings of a test runner change.")
    if is_unusual_binary(file):
        yield _concern("binary_file", file, "A binary file is added, of which no line can be shown.")
    skip = next((line for line in file.added if SKIP.search(line.text)), None)
    if skip is not None:
        yield _concern("test_skipped", file, "A test is skipped, narrowed down or expected to fail.", skip)
    addressed = next((line for line in file.added if addresses_auditor(line.text)), None)
    if addressed is not None or addresses_auditor(file.path.decode("utf-8", "replace").replace("_", " ")):
        yield _concern("addresses_auditor", file, "The text speaks to whoever reviews it.", addressed)


def _tests_removed(change: ProposedChange) -> Iterator[Concern]:
    """Test functions that are gone from the whole change; one moved to another file is not."""
    added = {name for file in change.files for line in file.added for name in _test_names(file, line)}
    for file in change.files:
        for line in file.removed:
            for name in _test_names(file, line) - added:
                yield _concern("test_removed", file, f"The test {name} is removed or renamed.", line)


def _asserts_removed(change: ProposedChange) -> Iterator[Concern]:
    """Test files that assert less than before, and more than moved assertions can explain."""
    gain = sum(_assert_count(file, file.added) - _assert_count(file, file.removed) for file in change.files)
    for file in change.files:
        lost = _assert_count(file, file.removed) - _assert_count(file, file.added)
        if lost > 0 and gain < 0:
            yield _concern("asserts_removed", file, f"{lost} fewer lines assert something.")


def _test_names(file: FileChange, line: Line) -> set[str]:
    language = test_language(file.path)
    found = None if language is None else language.test.search(line.text)
    return set() if found is None else {next((group for group in found.groups() if group), found.group()).strip()}


def _assert_count(file: FileChange, lines: tuple[Line, ...]) -> int:
    language = test_language(file.path)
    if language is None or not (is_test_file(file.path) or language.tests_in_sources):
        return 0
    return sum(1 for line in lines if language.assertion.search(line.text))


def _concern(kind: str, file: FileChange, message: str, line: Line | None = None) -> Concern:
    return Concern(kind, shown(file.path), message, None if line is None else line.number)
