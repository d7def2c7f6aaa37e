"""Names of refs: every id has one, no two ids share one, and git accepts them all."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from events.plan import TierId
from events.refs import LONGEST_BYTES
from services.git.reference_names import branch_reference, candidate_reference, encoded, tag_reference

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def decoded(name: str) -> str:
    raw = name.encode()
    parts = raw.split(b"%")
    return (parts[0] + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in parts[1:])).decode()


identifiers = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


tier_ids = TypeAdapter(TierId)


@given(identifiers.filter(lambda identifier: "%-" not in encoded(identifier)))  # those are cut
def test_an_encoded_id_can_be_read_back(identifier: str) -> None:
    assert decoded(encoded(identifier)) == identifier


@settings(max_examples=40, deadline=None)
@given(
    identifiers | st.sampled_from([".", "..", "a.lock", "a..b", "@", "-", "a.", ".a", "a/b", "~^:?*[\\", "a\x7f"])
)
def test_git_accepts_every_name(identifier: str) -> None:
    for name in (
        branch_reference(identifier),
        tag_reference(identifier, identifier, identifier),
        candidate_reference(identifier, identifier, identifier),
    ):
        subprocess.run(["git", "check-ref-format", name], check=True, timeout=30)


@pytest.mark.parametrize("letter", ["a", "層", "😀", "ü", "/", " ", "."])
def test_git_can_make_refs_of_the_longest_ids_that_a_plan_may_have(tmp_path: Path, letter: str) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True, timeout=30)
    longest = "r" * 100
    tiers = [tier_ids.validate_python(letter * length) for length in (20, 28, 60, 99, 100)]
    names = [tag_reference(longest, tier, longest) for tier in tiers]
    commands = "".join(f"create {name} {EMPTY_TREE}\n" for name in (*names, branch_reference(longest)))
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "hash-object", "-t", "tree", "-w", "/dev/null"], check=True, timeout=30)
    tags_only = commands.replace("refs/heads/", "refs/tags/branch/")
    subprocess.run([*git, "update-ref", "--stdin"], input=tags_only.encode(), check=True, timeout=30)
    assert len(set(names)) == len(tiers)


@given(st.text(st.sampled_from("層/ü"), min_size=60, max_size=100))
def test_a_shortened_id_is_no_other_ids_name(identifier: str) -> None:
    name = encoded(identifier)
    assert len(name) <= LONGEST_BYTES
    if "%-" in name:
        assert name != encoded(name)
        assert name != encoded(identifier + "x")
        assert name == encoded(identifier)


def test_plain_ids_stay_as_they_are() -> None:
    assert tag_reference("shop-42", "T1", "P_1.2") == "refs/tags/autonomous/shop-42/tier-T1/phase-P_1.2"
