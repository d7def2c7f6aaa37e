"""`init`: the tests of a repository are found and written down, and nothing is overwritten."""

from pathlib import Path

import pytest

from events.configuration import parse_configuration
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.initialising import initialise

PACKAGE = '{"scripts": {"test": "vitest"}}'


@pytest.mark.parametrize(
    ("files", "argvs"),
    [
        ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, [("python3", "-m", "pytest", "-q")]),
        ({"tests/conftest.py": ""}, [("python3", "-m", "pytest", "-q")]),
        ({"test_a.py": ""}, [("python3", "-m", "unittest")]),
        ({"tests/test_a.py": ""}, [("python3", "-m", "unittest", "discover", "-s", "tests")]),
        (
            {"tests/test_a.py": "", "tests/__init__.py": ""},
            [("python3", "-m", "unittest", "discover", "-s", "tests", "-t", ".")],
        ),
        ({"package.json": PACKAGE}, [("npm", "test")]),
        ({"Cargo.toml": ""}, [("cargo", "test")]),
        ({"go.mod": ""}, [("go", "test", "./...")]),
        ({"Makefile": "all:\n\ntest: all\n\ttrue\n"}, [("make", "test")]),
        ({"Makefile": "test:\n", "go.mod": ""}, [("go", "test", "./...")]),
        ({"go.mod": "", "package.json": PACKAGE}, [("npm", "test"), ("go", "test", "./...")]),
    ],
)
def test_the_tests_of_a_repository_are_found(
    tmp_path: Path, files: dict[str, str], argvs: list[tuple[str, ...]]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    initialise(tmp_path, ())
    checks = parse_configuration((tmp_path / "autopack.toml").read_text()).checks
    assert [check.argv for check in checks.normal] == argvs


def test_what_npm_needs_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text(PACKAGE)
    (tmp_path / "package-lock.json").write_text("{}")
    initialise(tmp_path, ())
    prepare = parse_configuration((tmp_path / "autopack.toml").read_text()).prepare
    assert prepare is not None
    assert (prepare.argv, prepare.paths) == (("npm", "ci"), ("node_modules",))
    assert prepare.keyed_by == ("package.json", "package-lock.json")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"Makefile": "test := 1\n"},
        {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
        {"package.json": "[1]"},
        {"package.json": "{"},
        {"package.json": '{"scripts": {"test": 5}}'},
    ],
)
def test_where_no_test_is_found_nothing_is_written(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(Unsuccessful, match="--check"):
        initialise(tmp_path, ())
    assert not (tmp_path / "autopack.toml").exists()


def test_commands_are_taken_as_they_are_given(tmp_path: Path) -> None:
    initialise(tmp_path, (("make", 'odd "quotes" \\ and ü'), ("true",)))
    checks = parse_configuration((tmp_path / "autopack.toml").read_text()).checks
    assert [check.argv for check in checks.normal] == [("make", 'odd "quotes" \\ and ü'), ("true",)]


def test_a_configuration_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "autopack.toml").write_text("# mine\n")
    with pytest.raises(WrongUsage, match="left as it is"):
        initialise(tmp_path, (("true",),))
    assert (tmp_path / "autopack.toml").read_text() == "# mine\n"
