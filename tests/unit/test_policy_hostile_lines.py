"""No expression of the policy takes longer than a line is long: while one runs, nothing else does."""

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import ModuleType

import pytest

from services import policy
from services.policy.change import ABSENT, REGULAR, Blob, ProposedChange, file_change
from services.policy.concerns import addresses_auditor, concerns
from services.policy.disguise import folded
from services.policy.judge import judge
from services.policy.policy import Policy
from services.policy.secrets import secret_in
from services.policy.self_running_parts import self_running_parts

LENGTH = 20_000
LIMIT_SECONDS = 0.25  # a quadratic one takes seconds


def patterns_in(value: object) -> Iterator[re.Pattern[str] | re.Pattern[bytes]]:
    """Every expression in a value, at any depth."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from patterns_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from patterns_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from patterns_in(getattr(value, field.name))


def modules() -> list[ModuleType]:
    return [
        importlib.import_module(f"services.policy.{found.name}") for found in pkgutil.iter_modules(policy.__path__)
    ]


PATTERNS = list(
    {found: None for module in modules() for value in vars(module).values() for found in patterns_in(value)}
)


def pumped(pattern: re.Pattern[str] | re.Pattern[bytes]) -> Iterator[str]:
    """Lines made of the pattern's own words, over and over, with what could be divided between them."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    words = {word.replace("\\", "") for word in re.findall(r"(?:\\?[\w@#\"'<(.-]){2,}", source)}
    for word in ["", *sorted(words)]:
        for filler in (" ", "a", "=", "a "):
            yield word + filler * (LENGTH // len(filler)) + "!"
            yield (word + filler) * (LENGTH // len(word + filler))
        yield (word + " " * 40) * (LENGTH // len(word + " " * 40))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: str(pattern.pattern)[:40])
def test_an_expression_is_linear_on_hostile_lines(pattern: re.Pattern[str] | re.Pattern[bytes]) -> None:
    for line in pumped(pattern):
        started = time.process_time()
        for _ in pattern.finditer(line if isinstance(pattern.pattern, str) else line.encode()):
            pass
        assert time.process_time() - started < LIMIT_SECONDS, line[:100]


@pytest.mark.parametrize(
    "word", ["token", "note to ", "note" + " " * 50, "ignore all ", "-----BEGIN ", "you are a "]
)
def test_whole_looks_at_a_line_are_linear(word: str) -> None:
    line = word * (LENGTH // len(word))
    started = time.process_time()
    assert secret_in(line) is None
    addresses_auditor(line)
    assert time.process_time() - started < LIMIT_SECONDS


def test_a_name_of_many_accents_is_folded_in_linear_time() -> None:
    started = time.process_time()
    folded("a" + "\u0301\u0323" * 100_000)
    folded("a" + "\u0301\u0323" * 2_000)
    assert time.process_time() - started < LIMIT_SECONDS


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pyproject.toml", "a" + ".a" * 9_000 + " = 1\n"),
        ("setup.cfg", "[a]\na" + " " * 19_000 + "b\n"),
        ("package.json", "[" * 19_000),
    ],
)
def test_a_project_file_of_hostile_lines_is_refused_without_parsing_it(name: str, line: str) -> None:
    content = (line * 200).encode()
    file = file_change(name.encode(), ABSENT, REGULAR, None, Blob(len(content), content))
    change = ProposedChange((file,), frozenset({name.encode()}))
    started = time.process_time()
    assert [found.rule for found in self_running_parts(change, Policy())] == ["build_backend"]
    assert time.process_time() - started < 1


def test_a_file_of_hostile_lines_is_judged_within_seconds() -> None:
    content = b"\n".join(b"x%d = '" % number + b"token" * 3900 + b"'" for number in range(20))
    file = file_change(b"tests/test_a.py", ABSENT, REGULAR, None, Blob(len(content), content))
    change = ProposedChange((file,), frozenset({b"tests/test_a.py"}))
    started = time.process_time()
    assert judge(change, Policy()) == ()
    concerns(change)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("before", [0, 18_990, 19_990, 20_001, 60_000])
def test_a_secret_is_found_wherever_it_stands_in_a_long_line(before: int) -> None:
    assert (
        secret_in(" " * before + "ghp" + "_a8Kd93LmQx72VbNs04TyRw61ZcFp5Hj8Ue2G" + " " * 30_000)
        == "a GitHub token"
    )
