from pathlib import Path

import pytest

from services.agents import (
    Agents,
    AgentsFileInvalid,
    AgentUnavailable,
    AgentUnknown,
    CommandAgent,
    ExternalAgent,
    Role,
    load_agents,
)

GOOD = """
[defaults]
builder = "nightly"
auditor = "codex"
[builder.nightly]
kind = "command"
argv = ["python3", "/opt/agent.py"]
timeout_seconds = 900
idle_seconds = 60.5
network = true
secrets = ["MODEL_KEY"]
readonly_paths = ["/opt/data"]
[builder.plain]
kind = "command"
argv = ["agent"]
[builder.cloud]
kind = "external"
[auditor.codex]
kind = "codex"
model = "some-model"
"""


def loaded(text: str, folder: Path) -> Agents:
    path = folder / "agents.toml"
    path.write_text(text)
    return load_agents(path)


def test_a_name_and_the_default_stand_for_a_whole_agent(tmp_path: Path):
    agents = loaded(GOOD, tmp_path)
    nightly = CommandAgent(
        "nightly", ("python3", "/opt/agent.py"), 900, 60.5, True, ("MODEL_KEY",), (Path("/opt/data"),)
    )
    assert agents.resolve(Role.BUILDER) == nightly
    assert agents.resolve(Role.BUILDER, "nightly") == nightly
    assert agents.resolve(Role.BUILDER, "plain") == CommandAgent("plain", ("agent",), 1800, 300, False)


def test_external_needs_no_entry_and_may_have_other_names(tmp_path: Path):
    assert load_agents(tmp_path / "none.toml").resolve(Role.AUDITOR, "external") == ExternalAgent()
    assert loaded(GOOD, tmp_path).resolve(Role.BUILDER, "cloud") == ExternalAgent("cloud")


def test_an_agent_of_a_later_kind_may_stand_in_the_file_and_is_refused_when_used(tmp_path: Path):
    with pytest.raises(AgentUnavailable, match="auditor 'codex' is of kind 'codex', which is not available"):
        loaded(GOOD, tmp_path).resolve(Role.AUDITOR)


def test_an_unknown_agent_is_named_beside_those_that_there_are_and_the_file_of_theirs(tmp_path: Path):
    with pytest.raises(AgentUnknown, match=rf"a builder named 'x'; {tmp_path}/\S+ has: nightly, plain, cloud"):
        loaded(GOOD, tmp_path).resolve(Role.BUILDER, "x")
    with pytest.raises(AgentUnknown, match=rf"a default auditor; {tmp_path}/none.toml has: none"):
        load_agents(tmp_path / "none.toml").resolve(Role.AUDITOR)


def test_a_file_that_is_needed_has_to_be_there(tmp_path: Path):
    with pytest.raises(AgentsFileInvalid, match=r"none\.toml.*No such file"):
        load_agents(tmp_path / "none.toml", needed=True)


def test_a_command_from_the_command_line_becomes_the_default(tmp_path: Path):
    agents = loaded(GOOD, tmp_path).with_command(Role.BUILDER, ("sh", "-c", "true"))
    assert agents.resolve(Role.BUILDER) == CommandAgent("command-line", ("sh", "-c", "true"))
    assert agents.resolve(Role.BUILDER, "plain").name == "plain"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[builder.a]\nkind = "command"\nargv = ["x"]\ncolour = 1', "builder.a.colour: unknown key"),
        ('[builder.a]\nkind = "command"\nargv = []', "builder.a.argv: "),
        ('[builder.a]\nkind = "command"', "builder.a.argv: Field required"),
        ('[builder.a]\nkind = "magic"', "builder.a: "),
        ('[builder.a]\nargv = ["x"]', "builder.a: "),
        ('[builder.a]\nkind = "command"\nargv = ["x"]\ntimeout_seconds = 0', "builder.a.timeout_seconds: "),
        ('[builder.a]\nkind = "command"\nargv = ["x"]\ntimeout_seconds = "9"', "builder.a.timeout_seconds: "),
        ('[builder.a]\nkind = "command"\nargv = ["x"]\nsecrets = ["PGPASSWORD"]', "builder.a.secrets.0: "),
        ('[builder.a]\nkind = "command"\nargv = ["x"]\nsecrets = ["AUTOPACK_LOG"]', "builder.a.secrets.0: "),
        ('[builder.a]\nkind = "command"\nargv = ["x"]\nreadonly_paths = ["x"]', "builder.a.readonly_paths.0: "),
        ('[builder.external]\nkind = "command"\nargv = ["x"]', "builder.external: "),
        ('[defaults]\nbuilder = "b"', "defaults.builder: no builder is named 'b'"),
        ("[tester.a]\nkind = 1", "tester: unknown key"),
        ("[builder]\nx = \n", "at line 2"),
        (f"[builder]\nx = {'9' * 5000}", "integer"),
    ],
)
def test_a_fault_in_the_file_is_named_with_its_place(text: str, fault: str, tmp_path: Path):
    with pytest.raises(AgentsFileInvalid) as caught:
        loaded(text, tmp_path)
    assert any(fault in told for told in caught.value.faults), caught.value.faults
    assert str(tmp_path / "agents.toml") in str(caught.value)


def test_every_fault_is_listed_not_the_first(tmp_path: Path):
    with pytest.raises(AgentsFileInvalid) as caught:
        loaded('[builder.a]\nkind = "command"\nx = 1\ny = 2', tmp_path)
    assert len(caught.value.faults) == 3
