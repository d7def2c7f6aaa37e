"""What `doctor` says of the operator's own files and settings."""

from pathlib import Path

import pytest

from services.cli.app import exit_code_of
from services.cli.doctor import Grade, examine_agents, examine_settings
from services.settings import Settings

BUILDER = '[builder.mine]\nkind = "command"\nargv = ["true"]\n'
AUDITOR = '[auditor.careful]\nkind = "command"\nargv = ["true"]\n'


@pytest.mark.parametrize(
    ("text", "grade", "told"),
    [
        ("", Grade.NOTE, "no builder is configured"),
        (f'defaults.builder = "mine"\n{BUILDER}', Grade.NOTE, "by default mine and no auditor"),
        (f"{BUILDER}{AUDITOR}", Grade.NOTE, "by default no builder and no auditor"),
        (
            f'defaults = {{builder = "mine", auditor = "careful"}}\n{BUILDER}{AUDITOR}',
            Grade.OK,
            "mine and careful",
        ),
        (f'defaults.builder = "mine"\n{BUILDER}'.replace("true", "/nowhere"), Grade.MISSING, "/nowhere of mine"),
        (f'defaults.builder = "mine"\n{BUILDER}'.replace("true", "tools/build"), Grade.NOTE, "by default mine"),
    ],
)
async def test_an_agent_that_a_run_will_want_and_not_find_is_noted(
    text: str, grade: Grade, told: str, tmp_path: Path
) -> None:
    (tmp_path / "agents.toml").write_text(text)
    found = await examine_agents(Settings(home=tmp_path))
    assert found.grade is grade
    assert told in found.message
    assert (grade is Grade.OK) == (found.remedy == "")


async def test_a_file_of_agents_that_a_setting_names_and_nobody_wrote_is_missing(tmp_path: Path) -> None:
    found = await examine_agents(Settings(home=tmp_path, agents=tmp_path / "mine.toml"))
    assert found.grade is Grade.MISSING
    assert f"{tmp_path}/mine.toml" in found.message


@pytest.fixture
def set_by_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name in the environment, another in the file beside it, and those that others heed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("AUTOPACK_BUILDER_AT_ONCE=2\nAUTOPACK_UID=1000\nOTHER=1\n")
    monkeypatch.setenv("AUTOPACK_BOGUS", "1")
    monkeypatch.setenv("AUTOPACK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUTOPACK_TEST_REQUIRE", "")


@pytest.mark.usefixtures("set_by_mistake")
async def test_a_name_that_no_setting_has_is_noted_with_the_one_that_may_be_meant() -> None:
    found = await examine_settings(Settings())
    assert found.grade is Grade.NOTE
    assert found.message.endswith(": AUTOPACK_BOGUS, AUTOPACK_BUILDER_AT_ONCE")
    assert found.remedy == "AUTOPACK_BUILDER_AT_ONCE: set AUTOPACK_BUILDERS_AT_ONCE"


async def test_settings_that_all_are_known_are_nothing_to_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOPACK_LOG_LEVEL", "debug")
    assert (await examine_settings(Settings())).grade is Grade.OK


@pytest.mark.usefixtures("set_by_mistake")
def test_a_service_that_starts_warns_of_names_that_no_setting_has(capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["serve", "nothing"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    warned = [line for line in err.splitlines() if "no such setting" in line]
    assert [("AUTOPACK_BOGUS" in line, "AUTOPACK_BUILDERS_AT_ONCE" in line) for line in warned] == [
        (True, False),
        (False, True),
    ]
