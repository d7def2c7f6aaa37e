import pytest

from services.policy.globs import forbidding, granting


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("src/**", "src/a.py"),
        ("src/**", "src/a/b.py"),
        ("src", "src/a/b.py"),
        ("src/", "src/a/b.py"),
        ("src/*.py", "src/a.py"),
        ("src/**/*.py", "src/a.py"),
        ("src/**/*.py", "src/a/b/c.py"),
        ("**/a.py", "a.py"),
        ("**/a.py", "x/y/a.py"),
        ("**", "anything/at/all"),
        ("./src/a.py", "src/a.py"),
        ("/src/a.py", "src/a.py"),
        ("a?c", "abc"),
        ("[ab].py", "b.py"),
        ("[!ab].py", "c.py"),
        ("a.b", "A.B"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_it_grants(pattern: str, path: str) -> None:
    assert granting([pattern]).match(path.encode())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("src/**", "src"),
        ("src/**", "srcs/a.py"),
        ("src/**", "a/src/b.py"),
        ("src/*.py", "src/a/b.py"),
        ("src/*", "srcx"),
        ("a.py", "x/a.py"),
        ("a.py", "aapy"),
        ("a?c", "a/c"),
        ("[!a]b", "/b"),
        ("[ab].py", "c.py"),
        ("", "a"),
        ("src/a", "src/ab"),
    ],
)
def test_it_does_not_grant(pattern: str, path: str) -> None:
    assert not granting([pattern]).match(path.encode())


def test_what_forbids_reaches_every_folder_unless_it_has_a_slash() -> None:
    globs = forbidding(["*.pem", "/root.txt", "infra/**"])
    assert globs.match(b"a/b/key.pem")
    assert globs.match(b"infra/x")
    assert not globs.match(b"a/root.txt")
    assert not globs.match(b"a/infra/x")
