"""Ids that follow from their parts by rule."""

import json
from itertools import combinations
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from events.ids import derived_id

ALIKE: list[tuple[str | int, ...]] = [
    ("s\ni", "x"),
    ("s", "i\nx"),
    ("s", "i", "x"),
    ("s,i", "x"),
    ('s", "i', "x"),
    ("s", "i", ""),
    ("s", "i"),
    ("s", "1"),
    ("s", 1),
    ("ä", "\\u00e4"),
    ("\\u00e4", "ä"),
]


def test_parts_that_differ_give_ids_that_differ():
    for one, other in combinations(ALIKE, 2):
        assert derived_id(*one) != derived_id(*other), (one, other)


def test_an_id_never_changes():
    """Histories hold these ids, and workers everywhere derive them again."""
    assert derived_id("shop", "run-1", "/ci/ä", "nightly-17", 1) == "5fb1103f-1e28-538e-a0bf-aa46a1dbf3f9"


@given(st.lists(st.text() | st.integers()))
def test_an_id_is_the_one_that_the_standard_library_makes(parts: list[str | int]) -> None:
    assert derived_id(*parts) == str(uuid5(UUID("7b1d6f0e-5b1c-5e0e-9d3a-2f8c1d0a4e11"), json.dumps(parts)))
