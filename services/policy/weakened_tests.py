"""Tests that prove less than before: gone, skipped, cut short, or with fewer assertions.

Each test is compared with itself, by its name: a skip that moves from one test to another is a new one.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from services.policy.change import Blob, FileChange, Line, ProposedChange
from services.policy.policy import Concern, concern
from services.policy.recognised_tests import EXIT, SKIP, TRIVIAL, LanguageOfTests, is_test_file, test_language


@dataclass(slots=True)
class _Proof:
    """What one test does, as far as lines show it."""

    skips: int = 0
    asserts: int = 0
    exits: int = 0
    exits_before_asserts: int = 0

    def take(self, text: str, language: LanguageOfTests) -> None:
        """Count in one line."""
        self.skips += _skips(text, language)
        self.exits += EXIT.search(text) is not None
        if _asserts(text, language):
            self.asserts += 1
            self.exits_before_asserts = self.exits


def weakened_tests(change: ProposedChange) -> Iterator[Concern]:
    """Every sign, file by file, that tests prove less than before."""
    yield from _tests_removed(change)
    yield from _asserts_removed(change)
    for file in change.files:
        if file.is_deleted and is_test_file(file.path):
            yield concern("test_file_removed", file.path, "A test file is deleted.")
        yield from _skipped(file)
        yield from _weaker(file)


def _tests_removed(change: ProposedChange) -> Iterator[Concern]:
    """Test functions that are gone from the whole change; one moved to another file is not."""
    added = {name for file in change.files for line in file.added for name in _test_names(file, line)}
    for file in change.files:
        for line in file.removed:
            for name in _test_names(file, line) - added:
                yield concern("test_removed", file.path, f"The test {name} is removed or renamed.", line)


def _asserts_removed(change: ProposedChange) -> Iterator[Concern]:
    """Test files that assert less than before, and more than moved assertions can explain."""
    gain = sum(_assert_count(file, file.added) - _assert_count(file, file.removed) for file in change.files)
    for file in change.files:
        lost = _assert_count(file, file.removed) - _assert_count(file, file.added)
        if lost > 0 and gain < 0:
            yield concern("asserts_removed", file.path, f"{lost} fewer lines assert something.")


def _skipped(file: FileChange) -> Iterator[Concern]:
    language = test_language(file.path)
    skip = next((line for line in file.added if _skips(line.text, language)), None)
    if skip is not None:
        yield concern("test_skipped", file.path, "A test is skipped, narrowed down or expected to fail.", skip)


def _weaker(file: FileChange) -> Iterator[Concern]:
    """Tests that were there before, and now are skipped, end early or assert nothing."""
    language = _language_of_tests(file)
    if language is None:
        return
    before, after = _proofs(file.old, language), _proofs(file.new, language)
    for name in sorted(before.keys() & after.keys()):
        old, new = before[name], after[name]
        if new.skips > old.skips:
            yield concern("test_skipped", file.path, f"The test {name} is skipped, or expected to fail.")
        if new.exits_before_asserts > old.exits_before_asserts:
            yield concern("test_cut_short", file.path, f"The test {name} may end before it asserts.")
        if old.asserts > 0 and new.asserts == 0:
            yield concern("asserts_removed", file.path, f"The test {name} asserts nothing any more.")


def _proofs(blob: Blob | None, language: LanguageOfTests) -> dict[str, _Proof]:
    """What each test of a file does; decorators, up to a blank line, belong to the test that they stand before."""
    found: defaultdict[str, _Proof] = defaultdict(_Proof)
    current, decorators = _Proof(), list[str]()
    for raw in [] if blob is None else blob.lines:
        text = raw.decode("utf-8", "replace")
        name = language.name_of_test(text)
        if name is not None:
            current = found[name]
        elif text.strip() and (decorators or text.lstrip().startswith(("@", "#["))):
            decorators.append(text)
            continue
        for line in (*decorators, text):
            current.take(line, language)
        decorators.clear()
    return found


def _test_names(file: FileChange, line: Line) -> set[str]:
    language = test_language(file.path)
    name = None if language is None else language.name_of_test(line.text)
    return set() if name is None else {name}


def _assert_count(file: FileChange, lines: tuple[Line, ...]) -> int:
    language = _language_of_tests(file)
    return 0 if language is None else sum(1 for line in lines if _asserts(line.text, language))


def _language_of_tests(file: FileChange) -> LanguageOfTests | None:
    """The language of a file in which tests stand."""
    language = test_language(file.path)
    if language is None or not (is_test_file(file.path) or language.tests_in_sources):
        return None
    return language


def _asserts(text: str, language: LanguageOfTests) -> bool:
    return language.assertion.search(text) is not None and TRIVIAL.search(text) is None


def _skips(text: str, language: LanguageOfTests | None) -> bool:
    own = None if language is None else language.skip
    return SKIP.search(text) is not None or (own is not None and own.search(text) is not None)
