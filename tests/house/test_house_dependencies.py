"""Each dependency has its line in docs/DEPENDENCIES.md, and a lock that goes with it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
PACKAGES = ("events", "projections", "services")
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


BROUGHT_ALONG = {"pydantic_core": "pydantic", "starlette": "fastapi"}
"""What is a part of a dependency in all but its name."""


def test_what_the_packages_import_is_a_dependency_of_those_who_install_them() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    assert undeclared(PACKAGES, declared) == {}
    assert undeclared(PACKAGES, declared - {"orjson"}).keys() == {"orjson"}


def undeclared(packages: Iterable[str], declared: set[str]) -> dict[str, str]:
    """Modules that are imported and that none of these distributions brings, each with a file that imports it."""
    brought, known = packages_distributions(), {*sys.stdlib_module_names, *packages}
    found = {}
    for file in (file for package in packages for file in (ROOT / package).rglob("*.py")):
        for name in imported(ast.parse(file.read_text(encoding="utf-8"))) - known:
            names = {canonicalize_name(one) for one in brought.get(name, ())} | {BROUGHT_ALONG.get(name, name)}
            if not names & declared:
                found[name] = str(file)
    return found


def imported(tree: ast.AST) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    found = set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
    return found
