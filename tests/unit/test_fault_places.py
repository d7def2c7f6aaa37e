"""Where the faults of a document are, as those who wrote it see it."""

import pytest
from pydantic import ValidationError

from events.plan import RunRequest
from services.fault_places import Location, json_pointer, located_faults, location_of

PLAN = {"tiers": [{"tier_id": "T1", "tier_index": 0, "name": "one"}], "phases": []}


def locations(document: dict[str, object]) -> list[Location]:
    with pytest.raises(ValidationError) as caught:
        RunRequest.model_validate(document)
    return [location for location, _ in located_faults(caught.value, document)]


def test_no_alternative_that_was_tried_is_named_among_the_places() -> None:
    checks = {"normal": [{"name": "tests", "argv": 7}, {"argv": ["true"]}]}
    found = locations({**PLAN, "checks": checks})
    assert found == [("checks", "normal", 0, "argv"), ("checks", "normal", 1, "name")]


def test_keys_that_look_like_names_of_types_stay() -> None:
    document = {**PLAN, "Checks": 1, "literal['none']": 2}
    assert locations(document) == [("Checks",), ("literal['none']",)]


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        ("phases[0].tier_id", "/phases/0/tier_id"),
        ("phases[10].depends_on[2]", "/phases/10/depends_on/2"),
        ("tier", "/tier"),
        ("(top)", ""),
    ],
)
def test_the_place_of_a_plans_fault_becomes_a_pointer(place: str, pointer: str) -> None:
    assert json_pointer(location_of(place)) == pointer


def test_signs_that_pointers_use_themselves_are_escaped() -> None:
    assert json_pointer(("a/b", "~", 0)) == "/a~1b/~0/0"
