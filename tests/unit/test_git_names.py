"""Names of refs: every id has one, no two ids share one, and git accepts them all."""

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from services.git.reference_names import branch_reference, candidate_reference, encoded, tag_reference


def decoded(name: str) -> str:
    raw = name.encode()
    parts = raw.split(b"%")
    return (parts[0] + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in parts[1:])).decode()


identifiers = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(identifiers)
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


def test_plain_ids_stay_as_they_are() -> None:
    assert tag_reference("shop-42", "T1", "P_1.2") == "refs/tags/autonomous/shop-42/tier-T1/phase-P_1.2"
