"""Every rule of the policy: what it refuses, and what it lets pass."""

from collections.abc import Mapping

import pytest

from services.policy.change import (
    ABSENT,
    EXECUTABLE,
    GITLINK,
    REGULAR,
    SYMLINK,
    Blob,
    ProposedChange,
    file_change,
)
from services.policy.judge import judge
from services.policy.policy import Limits, Policy, Violation
from support.proposed_changes import added, blob, deleted, edited, proposed, rules_broken

TOKEN = "ghp" + "_a8Kd93LmQx72VbNs04TyRw61ZcFp5Hj8Ue2G"  # in two, or a scanner of this repository would find it

REFUSED: Mapping[str, tuple[str, ProposedChange, Policy]] = {
    "a path outside the scope": ("scope", proposed(added("src/b.py")), Policy(scope=("src/cart/**",))),
    "a deletion outside the scope": ("scope", proposed(deleted("src/b.py")), Policy(scope=("src/cart/**",))),
    "a file of the scope's name elsewhere": (
        "scope",
        proposed(added("docs/README.md")),
        Policy(scope=("README.md",)),
    ),
    "any path under an empty scope": ("scope", proposed(added("src/b.py")), Policy(scope=())),
    "a protected path": ("protected", proposed(edited("infra/a.tf", "1", "2")), Policy(protected=("infra/**",))),
    "a protected path in other letters": (
        "protected",
        proposed(added("INFRA/Straße.tf")),
        Policy(protected=("infra/STRASSE.tf",)),
    ),
    "a protected name in any folder": ("protected", proposed(added("a/b/key.pem")), Policy(protected=("*.pem",))),
    "a symbolic link": ("symlink", proposed(added("a", "/etc/passwd", SYMLINK)), Policy()),
    "a file turned into a link": ("symlink", proposed(edited("a", "x", "y", (REGULAR, SYMLINK))), Policy()),
    "a gitlink": ("gitlink", proposed(file_change(b"sub", ABSENT, GITLINK, None, None)), Policy()),
    "a removed gitlink": ("gitlink", proposed(file_change(b"sub", GITLINK, ABSENT, None, None)), Policy()),
    "an odd mode": ("mode", proposed(added("a", mode=0o100664)), Policy()),
    "a new executable": ("executable", proposed(added("run.sh", mode=EXECUTABLE)), Policy()),
    "a new executable bit": ("executable", proposed(edited("a", "x", "x", (REGULAR, EXECUTABLE))), Policy()),
    "a bare repository": (
        "bare_repository",
        proposed(added("lib/HEAD"), besides=(b"lib/objects/pack/x", b"lib/refs/heads/main")),
        Policy(),
    ),
    "a bare repository at the root": (
        "bare_repository",
        proposed(added("refs/x"), besides=(b"HEAD", b"objects/x")),
        Policy(),
    ),
    ".gitmodules": ("gitmodules", proposed(added(".gitmodules")), Policy()),
    ".gitmodules in disguise": ("gitmodules", proposed(added("a/GITMOD~1")), Policy()),
    "a control character": ("unreadable_name", proposed(added("a\tb")), Policy()),
    "a newline": ("unreadable_name", proposed(added("a\nb")), Policy()),
    "a turned name": ("unreadable_name", proposed(added("a\u202eyp.txt")), Policy()),
    "a shapeless character": ("unreadable_name", proposed(added("a\u200b.py")), Policy()),
    "bytes that are no text": ("unreadable_name", proposed(added(b"a\xff.py")), Policy()),
    "a device of Windows": ("reserved_name", proposed(added("src/aux.py")), Policy()),
    "a device of Windows in a folder": ("reserved_name", proposed(added("CON/a.py")), Policy()),
    "a name that ends with a dot": ("reserved_name", proposed(added("src./a.py")), Policy()),
    "a stream": ("reserved_name", proposed(added("a.py:hidden")), Policy()),
    "a backslash": ("reserved_name", proposed(added("a\\b.py")), Policy()),
    "a name outside ASCII": ("non_ascii_name", proposed(added("größe.py")), Policy()),
    "a name that differs by case": (
        "colliding_name",
        proposed(added("readme.md"), besides=(b"README.md",)),
        Policy(),
    ),
    "a folder that differs by case": (
        "colliding_name",
        proposed(added("SRC/a.py"), besides=(b"src/b.py",)),
        Policy(),
    ),
    "too many files": (
        "changed_files",
        proposed(added("a"), added("b")),
        Policy(limits=Limits(changed_files=1)),
    ),
    "too many bytes": ("changed_bytes", proposed(added("a", "x" * 20)), Policy(limits=Limits(changed_bytes=10))),
    "a large file": ("file_size", proposed(added("a", "x" * 20)), Policy(limits=Limits(file_size_bytes=10))),
    "a file grown too large": (
        "file_size",
        proposed(edited("a", "x" * 9, "x" * 20)),
        Policy(limits=Limits(file_size_bytes=10)),
    ),
    "a file too large to be read": (
        "file_size",
        proposed(file_change(b"a", ABSENT, REGULAR, None, Blob(10**9, None))),
        Policy(),
    ),
    "a large binary file": (
        "binary_size",
        proposed(added("a", b"\0" * 20)),
        Policy(limits=Limits(binary_size_bytes=10)),
    ),
    "too many binary files": (
        "binary_files",
        proposed(added("a", b"\0"), added("b", b"\0")),
        Policy(limits=Limits(binary_files=1)),
    ),
    "a long line": ("line_length", proposed(added("a", "x" * 20)), Policy(limits=Limits(line_length_bytes=10))),
    "a long path": ("path_length", proposed(added("a" * 20)), Policy(limits=Limits(path_length_bytes=10))),
    "a result of too many files": (
        "result_files",
        proposed(added("a"), besides=(b"b", b"c")),
        Policy(limits=Limits(result_files=2)),
    ),
    "a private key": ("secret", proposed(added("k", "-----BEGIN OPENSSH " + "PRIVATE KEY-----\n")), Policy()),
    "a cloud key": ("secret", proposed(added("k", "key = AKIA" + "Q3EGRIVX7WZPLM2K\n")), Policy()),
    "a forge's token": (
        "secret",
        proposed(edited("k", "a\n", f"a\nt = {TOKEN}\n")),
        Policy(),
    ),
    "a token in a binary file": (
        "secret",
        proposed(added("k.bin", b"\0\1" + TOKEN.encode() + b"\xff\n")),
        Policy(),
    ),
    "a token in UTF-16": ("secret", proposed(added("k.dat", f"t = {TOKEN}\n".encode("utf-16"))), Policy()),
    "a token in UTF-16 the other way round": (
        "secret",
        proposed(added("k.dat", b"\0" + f"t = {TOKEN}\n".encode("utf-16-le"))),
        Policy(),
    ),
    "a token added to a binary file": (
        "secret",
        proposed(edited("k.bin", b"\0a", b"\0a " + TOKEN.encode())),
        Policy(),
    ),
    "a source file with a NUL": ("hidden_text", proposed(added("src/a.py", b"x = 1\n\0")), Policy()),
    "a source file made binary": ("hidden_text", proposed(edited("Makefile", "all:\n", "\0all:\n")), Policy()),
    "a secret in an assignment": (
        "secret",
        proposed(added("k.py", 'api_key = "q8Zr3LwX0vTn' + '5YbKc7Mj2Hd9PsFg4A6e"\n')),
        Policy(),
    ),
    "a conflict marker": ("conflict_marker", proposed(added("a", "<<<<<<< HEAD\nx\n")), Policy()),
    "a conflict's end": ("conflict_marker", proposed(edited("a", "x\n", "x\n>>>>>>> theirs\n")), Policy()),
    "a pointer to a large file": (
        "lfs_pointer",
        proposed(added("a.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
        Policy(),
    ),
    "text that is turned": ("hidden_text", proposed(added("a.py", "x = 'a\u202eb'\n")), Policy()),
    "shapeless text": ("hidden_text", proposed(added("a.py", "x\u200b = 1\n")), Policy()),
    "tags": ("hidden_text", proposed(added("a.md", "hello\U000e0041\n")), Policy()),
    "smuggled selectors": ("hidden_text", proposed(added("a.md", "☺\ufe01\ufe02\n")), Policy()),
    "a line within a line": ("hidden_text", proposed(added("a.py", "# all is well\rimport os\n")), Policy()),
    "a second return": ("hidden_text", proposed(added("a.py", "# all is well\r\r\n")), Policy()),
    "a separator of lines": ("hidden_text", proposed(added("a.js", "// well\u2028evil()\n")), Policy()),
    "a separator of paragraphs": ("hidden_text", proposed(added("a.js", "// well\u2029evil()\n")), Policy()),
    "a page break within a line": ("hidden_text", proposed(added("a.py", "a\x0cb\n")), Policy()),
    "a soft hyphen": ("hidden_text", proposed(added("a.py", "x = 'a\u00adb'\n")), Policy()),
    "a joiner of graphemes": ("hidden_text", proposed(added("a.py", "x = 'a\u034fb'\n")), Policy()),
    "an empty braille cell": ("hidden_text", proposed(added("a.py", "x = 'a\u2800b'\n")), Policy()),
    "a filler": ("hidden_text", proposed(added("a.js", "let \u3164 = 1\n")), Policy()),
    "a lone selector behind a letter": ("hidden_text", proposed(added("a.py", "x = 'a\ufe01b'\n")), Policy()),
    "a selector at the start of a line": ("hidden_text", proposed(added("a.py", "\ufe0fa\n")), Policy()),
    "an escape sequence": ("hidden_text", proposed(added("a.md", "a\x1b[2Jb\n")), Policy()),
    "a CI workflow": ("ci_configuration", proposed(added(".github/workflows/ci.yml")), Policy()),
    "a CI workflow in other letters": ("ci_configuration", proposed(added(".GitHub/workflows/ci.yml")), Policy()),
    "a CI workflow deleted": ("ci_configuration", proposed(deleted(".gitlab-ci.yml")), Policy()),
    "a build script": ("build_backend", proposed(added("setup.py")), Policy()),
    "another build backend": (
        "build_backend",
        proposed(
            edited("pyproject.toml", '[build-system]\nrequires = ["a"]\n', '[build-system]\nrequires = ["b"]\n')
        ),
        Policy(),
    ),
    "an install script": (
        "build_backend",
        proposed(edited("package.json", "{}", '{"scripts": {"postinstall": "node x.js"}}')),
        Policy(),
    ),
    "a project file that cannot be read": ("build_backend", proposed(edited("pyproject.toml", "", "[")), Policy()),
    "a build file of Gradle": ("build_backend", proposed(edited("app/build.gradle.kts", "a", "b")), Policy()),
    "a plugin of sbt": ("build_backend", proposed(added("project/plugins.sbt")), Policy()),
    "properties of every .NET build": ("build_backend", proposed(added("src/Directory.Build.props")), Policy()),
    "a makefile before the Makefile": (
        "build_backend",
        proposed(added("GNUmakefile"), besides=(b"Makefile",)),
        Policy(),
    ),
    "a lock file": ("lock_file", proposed(edited("web/package-lock.json", "{}", "{ }")), Policy()),
    "conftest": ("startup_file", proposed(added("tests/conftest.py")), Policy()),
    "a startup package": ("startup_file", proposed(added("src/sitecustomize/__init__.py")), Policy()),
    "a startup module in C": ("startup_file", proposed(added("usercustomize.abi3.so")), Policy()),
    "settings of pytest": ("startup_file", proposed(edited("pytest.ini", "a", "b")), Policy()),
    "hidden settings of pytest": ("startup_file", proposed(added("tests/.pytest.ini")), Policy()),
    "settings of pytest in TOML": ("startup_file", proposed(added("pytest.toml")), Policy()),
    "settings of tox": ("startup_file", proposed(added("tox.ini")), Policy()),
    "a path file": ("startup_file", proposed(added("lib/x.pth")), Policy()),
    "a hook": ("git_hook", proposed(added(".husky/pre-commit")), Policy()),
    "pre-commit": ("git_hook", proposed(edited(".pre-commit-config.yaml", "a", "b")), Policy()),
    "attributes": ("git_hook", proposed(added("src/.gitattributes")), Policy()),
    "editor settings": ("editor_settings", proposed(added(".vscode/tasks.json")), Policy()),
    "agent settings": ("agent_settings", proposed(added("AGENTS.md")), Policy()),
    "agent settings in a folder": ("agent_settings", proposed(added("a/.claude/settings.json")), Policy()),
    "owners": ("code_owners", proposed(added("docs/CODEOWNERS")), Policy()),
    "the policy itself": ("policy_file", proposed(edited("autopack.toml", "a", "b")), Policy()),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_its_rule(case: str) -> None:
    rule, change, policy = REFUSED[case]
    assert rule in rules_broken(change, policy)


DISGUISES = [
    b".git/config", b".GIT/config", b".Git/hooks/x", b"a/.git/x", b"git~1/config", b"GIT~12/x", b".git./config",
    b".git /config", b".git. . /x", b".git::$INDEX_ALLOCATION/config", ".g\u200cit/config".encode(),
    "\u200d.git/config".encode(), ".git\ufeff/config".encode(), ".\u200bgit/hooks/x".encode(),
]  # fmt: skip


@pytest.mark.parametrize("path", DISGUISES)
def test_a_git_directory_is_refused_in_every_disguise(path: bytes) -> None:
    assert "git_directory" in rules_broken(proposed(added(path)))
    assert "git_directory" in rules_broken(proposed(refused=(path,)))


PASSING: Mapping[str, tuple[ProposedChange, Policy]] = {
    "a plain edit": (proposed(edited("src/a.py", "a\n", "b\n")), Policy()),
    "a path in the scope": (proposed(added("src/cart/deep/a.py")), Policy(scope=("src/cart/**",))),
    "a path in a folder named as scope": (proposed(added("src/cart/a.py")), Policy(scope=("src/cart",))),
    "an allowed path beside the scope": (
        proposed(added(".github/workflows/ci.yml")),
        Policy(scope=("src/**",), allow=(".github/workflows/ci.yml",)),
    ),
    "an allowed protected path": (
        proposed(edited("infra/a.tf", "1", "2")),
        Policy(protected=("infra/**",), allow=("infra/a.tf",)),
    ),
    "a link that goes": (proposed(file_change(b"a", SYMLINK, ABSENT, blob("/x"), None)), Policy()),
    "an executable that stays": (proposed(edited("run.sh", "a", "b", (EXECUTABLE, EXECUTABLE))), Policy()),
    "an allowed executable": (proposed(added("run.sh", mode=EXECUTABLE)), Policy(allow=("executable",))),
    "an executable bit that goes": (proposed(edited("a", "x", "x", (EXECUTABLE, REGULAR))), Policy()),
    "HEAD without objects and refs": (proposed(added("lib/HEAD"), besides=(b"lib/objects/x",)), Policy()),
    "names that only resemble": (
        proposed(*map(added, ("git/a", ".github.md", "digit~1", "a.git/x", ".gitkeep", "console.py"))),
        Policy(),
    ),
    "an allowed name outside ASCII": (proposed(added("größe.py")), Policy(allow=("non_ascii_names",))),
    "an old name outside ASCII": (proposed(edited("größe.py", "a", "b")), Policy()),
    "a rename by case alone": (proposed(deleted("README.md"), added("readme.md")), Policy()),
    "a large file made small": (proposed(edited("a", "x" * 99, "x")), Policy(limits=Limits(file_size_bytes=10))),
    "an old long line": (
        proposed(edited("a", "x" * 99, "x" * 99 + "\ny\n")),
        Policy(limits=Limits(line_length_bytes=10)),
    ),
    "an example of a key": (proposed(added("k", "AKIA" + "IOSFODNN7EXAMPLE\n")), Policy()),
    "a token of one letter": (proposed(added("k", "ghp_" + "x" * 36 + "\n")), Policy()),
    "a key read from the environment": (
        proposed(added("k.py", "api_key = os.environ['THE_NAME_OF_OUR_SERVICE_KEY']\n")),
        Policy(),
    ),
    "a hash": (proposed(added("k", "sha256:" + "0123456789abcdef" * 4 + "\n")), Policy()),
    "an old secret moved": (
        proposed(edited("k", "AKIA" + "Q3EGRIVX7WZPLM2K\na\n", "a\nAKIA" + "Q3EGRIVX7WZPLM2K\n")),
        Policy(),
    ),
    "a picture": (proposed(added("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 50)), Policy()),
    "an old token in a binary file": (
        proposed(edited("k.bin", b"\0a " + TOKEN.encode(), b"\0b " + TOKEN.encode())),
        Policy(),
    ),
    "a source file that was binary": (proposed(edited("a.txt", b"\0a", b"\0b")), Policy()),
    "a heading underlined": (proposed(added("a.rst", "Heading\n=======\n")), Policy()),
    "shifts": (proposed(added("a.c", "x <<<<<<< y\n")), Policy()),
    "joined emoji, and Persian": (proposed(added("a.md", "👨\u200d👩\u200d👧 می\u200cخواهم ☺\ufe0f\n")), Policy()),
    "emoji of marks, letters and keys": (
        proposed(added("a.md", "‼\ufe0f ℹ\ufe0f 1\ufe0f\u20e3 ❤\ufe0f\u200d🔥\n")),
        Policy(),
    ),
    "page breaks as GNU writes them": (proposed(added("a.c", "int a;\n\x0c\n\x0cint b;\n")), Policy()),
    "lines that end as on Windows": (proposed(added("a.cs", "a\r\n\r\nb\r\n")), Policy()),
    "signs of Arabic": (proposed(added("a.md", "\u0600\u0661\u06dd\u0662\n")), Policy()),
    "a byte order mark at the start": (proposed(added("a.cs", "\ufeffusing System;\r\n")), Policy()),
    "a dependency in pyproject.toml": (
        proposed(edited("pyproject.toml", "[project]\n", '[project]\ndependencies = ["a"]\n')),
        Policy(),
    ),
    "a dependency in Cargo.toml": (
        proposed(edited("Cargo.toml", "[package]\nbuild = 'a'\n", "[package]\nbuild = 'a'\n[dependencies]\n")),
        Policy(),
    ),
    "a script in package.json": (proposed(edited("package.json", "{}", '{"scripts": {"test": "x"}}')), Policy()),
    "a script that only begins like a hook": (
        proposed(edited("package.json", "{}", '{"scripts": {"preview": "x", "prettier": "y", "build": "z"}}')),
        Policy(),
    ),
    "metadata in setup.cfg": (proposed(edited("setup.cfg", "", "[metadata]\nname = shop\n")), Policy()),
    "lines of setup.cfg that end as on Windows, and a comment": (
        proposed(edited("setup.cfg", "", "[metadata] ; shop\r\nname = x\r\n\f\r\n[options]\r\nzip_safe = 1\r\n")),
        Policy(),
    ),
    "a makefile where there is no other": (proposed(added("GNUmakefile"), besides=(b"a/Makefile",)), Policy()),
    "the first Makefile": (proposed(added("Makefile"), added("app/makefile")), Policy()),
    "an old makefile before the Makefile": (
        proposed(edited("GNUmakefile", "a", "b"), besides=(b"Makefile",)),
        Policy(),
    ),
    "an allowed lock file": (proposed(edited("uv.lock", "a", "b")), Policy(allow=("uv.lock",))),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSING)
def test_it_passes_every_rule(case: str) -> None:
    change, policy = PASSING[case]
    assert judge(change, policy) == ()


PARTS = [
    ("setup.cfg", "[tool:pytest]\naddopts = -p other\n"),
    ("setup.cfg", "[options.entry_points]\npytest11 = \n  x = other\n"),
    ("setup.cfg", "[options]\nentry_points = file: points.txt\n"),
    ("setup.cfg", "[options]\nentry-points = file: points.txt\n"),
    ("setup.cfg", "no section\n"),
    ("setup.cfg", "[tool:pytest] #]\naddopts = --collect-only\n"),
    ("setup.cfg", "[metadata]\nname = x\n\f[tool:pytest]\naddopts = --collect-only\n"),
    ("pyproject.toml", "[tool.hatch.metadata.hooks.custom]\npath = 'x.py'\n"),
    ("pyproject.toml", "[tool.hatch.build.hooks.custom]\npath = 'x.py'\n"),
    ("pyproject.toml", "[tool.hatch.version]\nsource = 'code'\npath = 'x.py'\n"),
    ("pyproject.toml", "[tool.setuptools.dynamic]\nversion = {attr = 'x.y'}\n"),
    ("pyproject.toml", "[[tool.setuptools.ext-modules]]\nname = 'x'\nsources = ['x.c']\n"),
    ("pyproject.toml", "[project.entry-points.pytest11]\nx = 'other'\n"),
    ("pyproject.toml", "[tool.poetry.plugins.pytest11]\nx = 'other'\n"),
    ("pyproject.toml", "[tool.pdm.scripts]\npost_install = 'x'\n"),
    ("Cargo.toml", "[package]\nbuild = 'gen.rs'\n"),
    ("package.json", '{"scripts": {"pretest": "x"}}'),
    ("package.json", '{"scripts": {"postbuild": "x", "build": "y"}}'),
    ("package.json", '{"scripts": {"install": "x"}}'),
    ("package.json", '{"simple-git-hooks": {"pre-commit": "x"}}'),
    ("package.json", '{"lint-staged": {"*": "x"}}'),
]


@pytest.mark.parametrize(("path", "content"), PARTS)
def test_a_part_that_runs_by_itself_is_refused_in_an_otherwise_ordinary_file(path: str, content: str) -> None:
    empty = "{}" if path.endswith(".json") else ""
    assert rules_broken(proposed(edited(path, empty, content))) == {"build_backend"}
    assert rules_broken(proposed(added(f"web/{path}", content)), Policy(allow=(f"web/{path}",))) == set()


def test_all_violations_are_listed_not_the_first() -> None:
    change = proposed(
        added(".github/workflows/ci.yml"), added("a", "/etc/passwd", SYMLINK), added("b", "<<<<<<< HEAD\n")
    )
    found = judge(change, Policy(scope=("src/**",)))
    assert {(violation.rule, violation.path) for violation in found} == {
        ("scope", ".github/workflows/ci.yml"),
        ("scope", "a"),
        ("scope", "b"),
        ("ci_configuration", ".github/workflows/ci.yml"),
        ("symlink", "a"),
        ("conflict_marker", "b"),
    }


def test_a_violation_says_what_where_and_how_to_mend_it() -> None:
    (found,) = judge(proposed(edited("a", "x\n", "x\ny\n>>>>>>> z\n")), Policy())
    assert found == Violation("conflict_marker", "a", "A line is a conflict marker.", "Settle the conflict.", 3)


def test_a_message_never_repeats_the_secret() -> None:
    secret = "Q3EGRIVX7WZPLM2K"
    found = judge(proposed(added("k", f"AKIA{secret}\n")), Policy())
    assert found
    assert secret not in repr(found)


def test_a_violation_shows_what_a_name_hides() -> None:
    found = judge(proposed(added("a\u202eb\n.py")), Policy())
    assert {violation.path for violation in found} == {"a\\u202eb\\n.py"}


@pytest.mark.parametrize("kind", ["symlink", "gitlink", "git_directory"])
def test_allow_opens_no_way_around_what_is_never_allowed(kind: str) -> None:
    change = proposed(
        added("a", "/etc", SYMLINK), file_change(b"b", ABSENT, GITLINK, None, None), added(".git/config")
    )
    assert kind in rules_broken(change, Policy(allow=("**", "executable", "non_ascii_names", kind)))
