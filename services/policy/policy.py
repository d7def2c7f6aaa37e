"""What is allowed in a phase, and what a violation and a concern look like."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from services.policy.change import Line, ProposedChange
from services.policy.disguise import shown

EXECUTABLE_KIND = "executable"
NON_ASCII_NAMES_KIND = "non_ascii_names"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a change, and what it leaves, may be."""

    changed_files: int = 2000
    changed_bytes: int = 50_000_000
    file_size_bytes: int = 5_000_000
    binary_size_bytes: int = 1_000_000
    binary_files: int = 100
    line_length_bytes: int = 20_000
    path_length_bytes: int = 400
    result_files: int = 500_000


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one phase.

    `scope` and `allow` grant; `protected` forbids besides the built-in list. A scope of None is everything
    that is not protected, an empty one is nothing.
    `allow` holds path globs, and the kinds `executable` and `non_ascii_names`.
    """

    scope: tuple[str, ...] | None = None
    allow: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that a change may not do: which rule, where, what, and how to mend it."""

    rule: str
    path: str
    message: str
    mend: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that an auditor should see before the change goes further."""

    kind: str
    path: str
    message: str
    line: int | None = None


class Rule(Protocol):
    """A pure function from a change to what is wrong with it."""

    def __call__(self, change: ProposedChange, policy: Policy) -> Iterator[Violation]:
        """Every violation of this rule."""


def violation(rule: str, path: bytes, message: str, mend: str, line: int | None = None) -> Violation:
    """A violation at a path, which is shown with nothing hidden in it."""
    return Violation(rule, shown(path), message, mend, line)


def concern(kind: str, path: bytes, message: str, line: Line | None = None) -> Concern:
    """A concern at a path, which is shown with nothing hidden in it."""
    return Concern(kind, shown(path), message, None if line is None else line.number)
