"""What the repository holds, and what must never come into it."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt", "tests/servers/kafka-jars.sha256")
APACHE_2_WORDS = ("Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS")
REGISTRIES = re.compile(
    r"pypi\.(org|python\.org)/simple|files\.pythonhosted|repo1?\.maven\.(org|apache)|registry\.npmjs"
    r"|--(extra-)?index-url|--find-links|--trusted-host",
    re.IGNORECASE,
)
# The sandbox has a home of its own, alike on every machine.
MACHINE_PATHS = re.compile(r"(?<![\w.$}/-])/(root|work|home|Users)/(?!sandbox\b)[a-z]\w+", re.IGNORECASE)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in tracked_files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"


def test_no_tracked_file_names_a_package_registry() -> None:
    assert list(lines_with(REGISTRIES)) == []


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    assert list(lines_with(MACHINE_PATHS)) == []


def test_a_registry_and_a_folder_of_one_machine_would_be_found() -> None:
    assert REGISTRIES.search("--index-url https://example.org/simple")
    assert MACHINE_PATHS.search('PATH = "/home/somebody/autopack"')
    assert not MACHINE_PATHS.search("a private /home and /work of the sandbox")


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_apache_2_in_full() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert [words for words in APACHE_2_WORDS if words not in text] == []


def test_no_lock_file_names_a_host() -> None:
    assert [name for name in LOCKS if "://" in (ROOT / name).read_text(encoding="utf-8")] == []


def test_every_requirement_in_the_locks_is_pinned_and_has_a_hash() -> None:
    for name in LOCKS[:2]:
        text = (ROOT / name).read_text(encoding="utf-8")
        logical_lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
        assert [line for line in logical_lines if "==" not in line or "--hash=sha256:" not in line] == []
