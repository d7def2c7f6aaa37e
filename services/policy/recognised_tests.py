"""How tests look in the languages that are known here, line by line."""

import re
from dataclasses import dataclass

_TEST_FILE = re.compile(
    r"(?i)(?:^|/)(?:test_[^/]*|[^/]*_tests?|[^/]*[._-](?:test|spec)|tests?)\.[a-z0-9]+$"
    r"|(?:^|/)(?:tests?|spec|specs|__tests__|testing|e2e)/.*"
)
_TEST_SETTINGS = re.compile(
    r"(?i)(?:^|/)(?:pytest\.ini|tox\.ini|noxfile\.py|\.coveragerc"
    r"|(?:jest|vitest|playwright|cypress|karma)[^/]*\.conf(?:ig)?\.[a-z]+|\.mocharc[^/]*|\.nycrc[^/]*|nextest\.toml"
    r"|\.rspec(?:-local)?|bunfig\.toml|\.?mypy\.ini|\.?pylintrc(?:\.toml)?)$"
)

SKIP = re.compile(
    r"pytest\.mark\.(?:skip|skipif|xfail)|\bpytest\.(?:skip|xfail|importorskip)\(|@?unittest\.(?:skip|expectedFailure)"
    r"|\bself\.skipTest\(|\b(?:it|test|describe|context|suite)\.(?:skip|only|todo|failing|fixme)\b"
    r"|^\s*(?:xit|xtest|xdescribe|fit|fdescribe)\(|\bt\.Skip(?:f|Now)?\(|\btesting\.Short\(\)|#\[ignore\b|#\[should_panic\b"
    r"|@(?:Disabled|Ignore)\b"
)
# An assertion that holds whatever the program does.
TRIVIAL = re.compile(
    r"^\s*assert\b[\s(]*(?:True|\d+|not\s+False|'[^']+'|\"[^\"]+\")[\s)]*(?:[,;#]|$)"
    r"|^\s*assert\s+(\w+)\s*(?:==|is)\s*\1\s*(?:[,;#]|$)"
    r"|\bassertTrue\(\s*[Tt]rue\b|\bassertFalse\(\s*[Ff]alse\b|\bassert(?:\.ok)?\(\s*true\s*[,)]"
    r"|\bexpect\(\s*(?:true|1)\s*\)|\bassert!\(\s*true\s*[,)]|\b(?:assert|require)\.True\(\s*t\s*,\s*true\b"
)
# A line that ends a test without a value and without a failure.
EXIT = re.compile(
    r"^\s*(?:if\s+(?:True|1)\s*:\s*)?"
    r"(?:return(?:\s+None)?|(?:sys\.|os\._|process\.)?exit\(\w*\)|raise\s+SystemExit(?:\(\w*\))?)[\s;]*(?:#|//|$)"
)


@dataclass(frozen=True, slots=True)
class LanguageOfTests:
    """How a language declares a test (its name is a group), asserts, and skips besides what `SKIP` knows."""

    test: re.Pattern[str]
    assertion: re.Pattern[str]
    skip: re.Pattern[str] | None = None
    tests_in_sources: bool = False

    def name_of_test(self, text: str) -> str | None:
        """The name of the test that a line declares, if it does."""
        found = self.test.search(text)
        return None if found is None else next((group for group in found.groups() if group), found.group()).strip()


_PYTHON = LanguageOfTests(
    re.compile(r"^\s*(?:async\s+)?def\s+(test\w*)\s*\(|^\s*class\s+(Test\w*)\b"),
    re.compile(r"^\s*assert\b|\bself\.(?:assert|fail)\w*\(|\bpytest\.(?:raises|fail|warns)\("),
    re.compile(
        r"@(?:\w+\.)*(?:skip|skipif|skipIf|skipUnless|xfail|expectedFailure)\b|\bmark\.(?:skip|skipif|xfail)\b"
        r"|\bSkipTest\b|\b__test__\s*=\s*False\b|\bcollect_ignore(?:_glob)?\b"
    ),
)
_JAVASCRIPT = LanguageOfTests(
    re.compile(r"^\s*(?:it|test|describe)(?:\.\w+)*\s*\(\s*([\"'`].*?[\"'`])"),
    re.compile(r"\bexpect\s*\(|\bassert(?:\.\w+)?\s*\(|\.should\b|\bt\.(?:is|true|deepEqual|throws)\("),
)
_GO = LanguageOfTests(
    re.compile(r"^func\s+((?:Test|Fuzz|Benchmark|Example)\w*)\s*\("),
    re.compile(r"\bt\.(?:Error|Fatal|Fail)\w*\(|\b(?:assert|require)\.\w+\("),
)
_RUST = LanguageOfTests(
    re.compile(r"^\s*(#\[(?:\w+::)?test\b.*\])|^\s*(?:async\s+)?fn\s+(test_?\w*)\s*\("),
    re.compile(r"\b(?:debug_)?assert(?:_eq|_ne|_matches)?!\s*\("),
    tests_in_sources=True,
)
_JVM = LanguageOfTests(
    re.compile(r"^\s*(@Test\b.*)|\b(?:void|fun)\s+(test\w*)\s*\("),
    re.compile(r"\bassert\w*\s*\(|\bverify\s*\("),
)
_BY_SUFFIX = {
    **dict.fromkeys(("py", "pyi"), _PYTHON),
    **dict.fromkeys(("js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts", "vue", "svelte"), _JAVASCRIPT),
    "go": _GO,
    "rs": _RUST,
    **dict.fromkeys(("java", "kt", "kts", "scala", "groovy"), _JVM),
}


def test_language(path: bytes) -> LanguageOfTests | None:
    """The language of a file by its suffix, if it is one of the known."""
    return _BY_SUFFIX.get(path.rsplit(b".", 1)[-1].decode("utf-8", "replace").lower())


def is_test_file(path: bytes) -> bool:
    """Whether a path looks like that of a test."""
    return _TEST_FILE.search(path.decode("utf-8", "replace")) is not None


def is_test_settings(path: bytes) -> bool:
    """Whether a path is the settings file of a test runner, or of a program that checks like one."""
    return _TEST_SETTINGS.search(path.decode("utf-8", "replace")) is not None
