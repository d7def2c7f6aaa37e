"""Files that run by themselves are known by their names, and others that only resemble them are not."""

from collections.abc import Mapping

import pytest

from services.policy.policy import Policy
from support.proposed_changes import added, edited, proposed, rules_broken

NAMES: Mapping[str, tuple[str, ...]] = {
    "ci_configuration": (
        ".build.yml", ".builds/test.yml", "netlify.toml", "web/netlify.toml", ".zuul.yaml", "zuul.yaml",
        ".zuul.d/jobs.yaml", "zuul.d/jobs.yaml",
    ),
    "build_backend": (".bundle/config", "app/.bundle/config"),
    "startup_file": (
        "pytest.py", "Pytest.py", "src/pytest.py", "pytest.pyc", "pytest.abi3.so", "pytest/__init__.py",
        "pytest/__main__.py", "_pytest/__init__.py", "pluggy.py", "src/pluggy/__init__.py", "iniconfig.py",
        "coverage.py", "coverage/__init__.py", "unittest.py", "unittest/__init__.py",
        "x.dist-info/entry_points.txt", "src/x.egg-info/entry_points.txt", "lib/X-1.0.DIST-INFO/entry_points.txt",
        ".rspec", "gem/.rspec-local", "bunfig.toml", "mise.local.toml", ".mise.local.toml", "mise.ci.local.toml",
        "mise/config.toml", ".config/mise.toml", ".config/mise/conf.d/a.toml",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rule", "path"), [(rule, path) for rule, paths in NAMES.items() for path in paths])
def test_a_file_that_runs_by_itself_is_refused_unless_it_is_allowed(rule: str, path: str) -> None:
    assert rules_broken(proposed(added(path))) == {rule}
    assert rules_broken(proposed(edited(path, "a\n", "b\n"))) == {rule}
    assert rules_broken(proposed(added(path)), Policy(allow=(path,))) == set()


RESEMBLING = (
    "shop/pytest.py", "tests/coverage.py", "src/shop/unittest.py", "pytest/test_a.py", "unittest/test_a.cpp",
    "coverage/index.html", "coverage.xml", "coverage.svg", "unittest.md", "x.egg-info/PKG-INFO",
    "docs/entry_points.txt", "src/netlify.py", "bundle/config", "src/mise/a.toml", "shop/mise/config.toml",
    "a/zuul.d/a.yaml", "mypy.ini", ".pylintrc", "karma.conf.js",
)  # fmt: skip


@pytest.mark.parametrize("path", RESEMBLING)
def test_a_name_that_only_resembles_one_passes(path: str) -> None:
    assert rules_broken(proposed(added(path))) == set()
