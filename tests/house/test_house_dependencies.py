"""Each dependency has its line in docs/DEPENDENCIES.md, and a lock that goes with it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
DEVELOPMENT = [Requirement(text) for text in PYPROJECT["dependency-groups"]["dev"]]


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, flags=re.MULTILINE))


def test_each_dependency_has_its_line_and_each_line_its_dependency() -> None:
    text = (ROOT / "docs" / "DEPENDENCIES.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `([^`]+)` \| [^|]{4,} \| [^|]{4,} \|$", text, flags=re.MULTILINE)
    assert sorted(explained) == sorted(requirement.name for requirement in RUNTIME + DEVELOPMENT)


@pytest.mark.parametrize(
    ("lock", "requirements"), [("requirements.txt", RUNTIME), ("requirements-dev.txt", RUNTIME + DEVELOPMENT)]
)
def test_the_lock_holds_a_version_of_each_dependency_that_is_allowed(
    lock: str, requirements: list[Requirement]
) -> None:
    versions = locked(lock)
    for requirement in requirements:
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), str(requirement)


def test_tests_run_with_the_very_versions_that_users_get() -> None:
    runtime, development = locked("requirements.txt"), locked("requirements-dev.txt")
    assert runtime.items() <= development.items()
