"""JSON that says a thing twice is refused, and every fault has its line and column."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.json_reading import RepeatedKey, load_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_what_says_each_thing_once_is_read_as_it_is(value: object) -> None:
    assert load_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "location"),
    [
        ('{"a": 1, "a": 2}', 1, 10, ("a",)),
        ('{"a": {"b": [1, {"c": "{",\n  "d": 2,\n  "c": 3}]}}', 3, 3, ("a", "b", 1, "c")),
        ('[[], {"k": [], "x": "\\"", "\\u006b": {}}]', 1, 27, (1, "k")),
        ('{"a": {"x": 1}, "b": {"x": 1}, "b": 2, "b": 3}', 1, 32, ("b",)),
    ],
)
def test_a_key_that_is_given_twice_is_named_with_its_place(
    text: str, line: int, column: int, location: tuple[str | int, ...]
) -> None:
    with pytest.raises(RepeatedKey, match=f"the key {location[-1]!r} is given twice") as caught:
        load_json(text)
    assert (caught.value.lineno, caught.value.colno, caught.value.location) == (line, column, location)


@settings(deadline=None)
@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=4), st.data())
def test_wherever_a_key_stands_twice_it_is_found(document: dict[str, object], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(document)))
    text = f"{json.dumps(document)[:-1]}, {json.dumps(key)}: 0}}"
    with pytest.raises(RepeatedKey) as caught:
        load_json(text)
    assert caught.value.location == (key,)
    assert caught.value.pos == text.rindex(json.dumps(key))
