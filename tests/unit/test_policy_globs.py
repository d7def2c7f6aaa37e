import time
import warnings

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


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a*b", "aab"),
        ("*ab*ab", "abab"),
        ("a*a?c", "aaabc"),
        ("[*]*", "*x"),
        ("**/a/**/b/*.py", "a/b/a/b/x.py"),
        ("**/a/**/a/c", "a/a/b/a/c/d"),
        ("**/*b/**", "ab/bb/c"),
    ],
)
def test_several_stars_find_their_places(pattern: str, path: str) -> None:
    assert granting([pattern]).match(path.encode())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("*a*a", "ba"), ("[*]*", "x"), ("*ab*ab", "abb"), ("**/a/**/a/c", "a/c/a"), ("**/*b/**", "ab")],
)
def test_several_stars_find_no_place_where_there_is_none(pattern: str, path: str) -> None:
    assert not granting([pattern]).match(path.encode())


BRACKETS = [
    ("app/[locale]/admin/page.tsx", "app/[locale]/admin/page.tsx"),
    ("app/[user-id]/page.tsx", "app/[user-id]/page.tsx"),
    ("app/[Locale]/*.tsx", "app/[locale]/page.tsx"),
    ("routes/[[...slug]]/+page.svelte", "routes/[[...slug]]/+page.svelte"),
    ("app/[...all].[jt]s", "app/[...all].js"),
    ("app/[a]-[b]-[c]-[d]-[e]", "app/[a]-[b]-[c]-[d]-[e]"),
    ("app/[a]-[b]-[c]-[d]-[e]", "app/a-b-c-d-e"),
    ("app/*[id]*/x", "app/a[id]b/x"),
    ("*[ab]*]", "[ab]"),
    ("app/[locale]/x", "app/l/x"),
    ("[z-a]", "[z-a]"),
    ("[!]", "[!]"),
    ("[a-c].py", "b.py"),
    ("[&&a]", "&"),
    ("[~~||]", "|"),
]


@pytest.mark.parametrize(("pattern", "path"), BRACKETS)
def test_brackets_are_read_as_they_stand_and_as_one_character(pattern: str, path: str) -> None:
    for globs in (granting([pattern]), forbidding([pattern])):
        assert globs.match(path.encode())
        assert not globs.match(path.encode() + b"x")


@pytest.mark.parametrize(
    ("pattern", "path"), [("[locale]", "locale"), ("[z-a]", "z"), ("[!]", "a"), ("[a]", "[b]")]
)
def test_brackets_grant_no_more_than_their_two_readings(pattern: str, path: str) -> None:
    assert not granting([pattern]).match(path.encode())


@pytest.mark.parametrize(
    "pattern", ["[b-a]", "[!]", "[a--]", "[--a]", "[&&]", "[[a]", "[\\", "[a\\]", "[!^]", "[]", "[!!-]"]
)
def test_no_pattern_is_too_strange_to_be_read(pattern: str) -> None:
    with warnings.catch_warnings(action="error"):
        assert granting([pattern]).match(pattern.encode())


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a*a*a*a*a*ab", "a" * 20_000),
        ("*a?*a?*a?*b", "a" * 20_000),
        ("*[ab]*[ab]*[ab]*[ab]b", "a" * 20_000),
        ("*[ab]" * 40 + "c", "a" * 20_000),
        ("**/a/**/a/**/a/**/a/**/b", "a/" * 10_000 + "a"),
        ("**/*a*/**/*a*/**/*a*b", "aa/" * 7_000 + "a"),
    ],
)
def test_no_pattern_takes_longer_than_a_path_is_long(pattern: str, path: str) -> None:
    started = time.process_time()
    assert not granting([pattern]).match(path.encode())
    assert not forbidding([pattern]).match(path.encode())
    assert time.process_time() - started < 0.2
