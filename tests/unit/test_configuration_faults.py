"""What is wrong with an autopack.toml is named as it stands there."""

import pytest

from events.configuration import ConfigurationInvalid, parse_configuration


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            "[checks.normal]\ntests = { argv = 'x', foo = 1 }",
            ["normal.tests.argv: must be a list", "normal.tests.foo: "],
        ),
        ("[checks.strict]\na = { argv = ['x'] }\nb = { argv = ['x'], foo = 1 }", ["strict.b.foo: unknown key"]),
        ("[checks.normal]\ntests = 'x'", ["normal.tests: must be a table"]),
        ("[checks.nightly]\ntests = { argv = ['x'] }", ["nightly: unknown key"]),
    ],
)
def test_a_check_is_called_by_its_name(text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        parse_configuration(text)
    for fault, line in zip(faults, str(refused.value).splitlines(), strict=True):
        assert line.startswith(f"autopack.toml: checks.{fault}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("prepar = 1", "autopack.toml: prepar: unknown key"),
        ("policy = 1", "autopack.toml: policy: must be a table"),
        ("[policy]\nprotected = 'src'", "autopack.toml: policy.protected: must be a list"),
    ],
)
def test_other_keys_are_called_as_they_are_written(text: str, fault: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=fault):
        parse_configuration(text)


@pytest.mark.parametrize("text", ["[checks", f"ruleset.check_tries = {'9' * 5000}", f"prepare = {'[' * 20_000}"])
def test_what_is_no_toml_is_told_with_its_place(text: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"autopack\.toml is not TOML: "):
        parse_configuration(text)
