"""What an auditor should see before a change goes further: weakened tests, binaries, text addressed to it."""

import re
from collections.abc import Iterator

from services.policy.binaries import is_unusual_binary
from services.policy.change import FileChange, ProposedChange
from services.policy.policy import Concern, concern
from services.policy.recognised_tests import is_test_settings
from services.policy.weakened_tests import weakened_tests

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
    in_files = (found for file in change.files for found in _in_file(file))
    return (*weakened_tests(change), *in_files)


def addresses_auditor(text: str) -> bool:
    """Whether a text speaks to whoever reviews it instead of doing its own work."""
    plain = " ".join(text.split())
    return any(pattern.search(plain) for pattern in _ADDRESSED)


def _in_file(file: FileChange) -> Iterator[Concern]:
    if is_test_settings(file.path):
        yield concern(
            "test_settings_changed", file.path, "The settings of a test runner or of another check change."
        )
    if is_unusual_binary(file):
        yield concern("binary_file", file.path, "A binary file is added, of which no line can be shown.")
    addressed = next((line for line in file.added if addresses_auditor(line.text)), None)
    if addressed is not None or addresses_auditor(file.path.decode("utf-8", "replace").replace("_", " ")):
        yield concern("addresses_auditor", file.path, "The text speaks to whoever reviews it.", addressed)
