"""What `doctor` says of the operator's own files and settings."""

from pathlib import Path

import pytest

from services.cli.doctor import Grade, examine_agents
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
