"""`init`: finding out how a repository is tested, and writing it down as its autopack.toml."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from events.configuration import parse_configuration
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.repositories import CONFIGURATION

NPM_PLACEHOLDER = "no test specified"
_TEST_TARGET = re.compile(r"^test\s*:(?!=)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FoundTests:
    """A way in which the repository is tested; `prepare` gets what the tests need and network would bring."""

    name: str
    argv: tuple[str, ...]
    found_in: str
    prepare: tuple[str, ...] = ()
    keyed_by: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


def initialise(root: Path, commands: tuple[tuple[str, ...], ...]) -> list[FoundTests]:
    """Write `autopack.toml` into a repository and check it; returns the checks that it holds.

    `commands` are given by the user instead of what would be found. Raises WrongUsage where there is such a
    file, and Unsuccessful where no test is found.
    """
    target = root / CONFIGURATION
    if target.exists():
        raise WrongUsage(f"{target} is there already, and is left as it is")
    given = [FoundTests(f"check{i}", argv, "the command line") for i, argv in enumerate(commands, start=1)]
    found = given or list(find_tests(root))
    if not found:
        raise Unsuccessful(f"No tests were found in {root}. Name a command that runs them: --check 'make test'")
    text = configuration_text(found)
    parse_configuration(text)
    target.write_text(text)
    return found


def missing_programs(found: list[FoundTests]) -> list[str]:
    """The programs that the checks start and that are not on this machine."""
    return [tests.argv[0] for tests in found if shutil.which(tests.argv[0]) is None]


def find_tests(root: Path) -> Iterator[FoundTests]:
    """The tests of a repository by the files at its root; a Makefile's target counts where nothing else does."""
    found = [*_python(root), *_node(root), *_rust(root), *_go(root)]
    yield from found or _make(root)


def _python(root: Path) -> Iterator[FoundTests]:
    if _uses_pytest(root):
        yield FoundTests("pytest", ("python3", "-m", "pytest", "-q"), "the settings of pytest")
    elif any(root.glob("tests/test*.py")) or any(root.glob("test*.py")):
        yield FoundTests("unittest", ("python3", "-m", "unittest", *_discovery(root)), "the tests in Python")


def _discovery(root: Path) -> tuple[str, ...]:
    """Without a folder named, unittest passes one by that is no package, and finds nothing: green before 3.12."""
    if not any(root.glob("tests/test*.py")):
        return ()
    is_package = (root / "tests/__init__.py").exists()
    return ("discover", "-s", "tests", *(("-t", ".") if is_package else ()))


def _uses_pytest(root: Path) -> bool:
    if (root / "pytest.ini").exists() or (root / "conftest.py").exists() or (root / "tests/conftest.py").exists():
        return True
    settings = ("pyproject.toml", "setup.cfg", "tox.ini", "requirements-dev.txt", "requirements-test.txt")
    return any("pytest" in _text(root / name) for name in settings)


def _node(root: Path) -> Iterator[FoundTests]:
    try:
        script = json.loads(_text(root / "package.json") or "{}").get("scripts", {}).get("test", "")
    except (ValueError, RecursionError, AttributeError):
        return
    if not isinstance(script, str) or not script or NPM_PLACEHOLDER in script:
        return
    lock = "package-lock.json"
    install = ("npm", "ci") if (root / lock).exists() else ("npm", "install")
    keys = tuple(name for name in ("package.json", lock) if (root / name).exists())
    yield FoundTests("npm", ("npm", "test"), "package.json", install, keys, ("node_modules",))


def _rust(root: Path) -> Iterator[FoundTests]:
    if (root / "Cargo.toml").exists():
        yield FoundTests("cargo", ("cargo", "test"), "Cargo.toml")


def _go(root: Path) -> Iterator[FoundTests]:
    if (root / "go.mod").exists():
        yield FoundTests("go", ("go", "test", "./..."), "go.mod")


def _make(root: Path) -> Iterator[FoundTests]:
    for name in ("GNUmakefile", "makefile", "Makefile"):
        if _TEST_TARGET.search(_text(root / name)):
            yield FoundTests("make", ("make", "test"), name)
            return


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def configuration_text(found: list[FoundTests]) -> str:
    """The text of the configuration, with what a reader needs to know to go on from it."""
    lines = [
        "# How changes to this repository are checked. Read at the commit that a run starts from.",
        "# Checks run without network, on a copy of each candidate; exit code 0 is green.",
        "",
    ]
    for tests in found:
        if tests.prepare:
            lines += _prepare(tests)
    lines.append("[checks.normal]")
    lines += [f"{tests.name} = {{ argv = {_list(tests.argv)}, timeout_seconds = 600 }}" for tests in found]
    lines += [
        "",
        "# Run besides in phases of high complexity and in safety_critical runs; paths that no phase may touch:",
        "# [checks.strict]",
        '# everything = { argv = ["make", "ci"], timeout_seconds = 3600 }',
        "# [policy]",
        '# protected = ["infra/**"]',
    ]
    if not any(tests.prepare for tests in found):
        lines += [
            "# What the checks need besides the system, once for each state of the lock files, with network:",
            "# [prepare]",
            '# argv = ["make", "setup"]',
            '# keyed_by = ["requirements.txt"]',
            '# paths = [".venv"]',
        ]
    return "\n".join([*lines, ""])


def _prepare(tests: FoundTests) -> list[str]:
    return [
        "[prepare] # once for each state of the lock files, with network",
        f"argv = {_list(tests.prepare)}",
        f"keyed_by = {_list(tests.keyed_by)}",
        f"paths = {_list(tests.paths)}",
        "",
    ]


def _list(values: tuple[str, ...]) -> str:
    return json.dumps(list(values), ensure_ascii=False)
