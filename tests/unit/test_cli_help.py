"""What a command costs before it begins, and how its help reads."""

import re
import subprocess
import sys

import pytest

from services.cli.app import exit_code_of


def test_a_process_loads_what_its_own_services_need() -> None:
    parts = "services.compose.supervising, services.compose.working, services.compose.reading"
    source = f"import sys, {parts}; print([name for name in ('fastapi', 'uvicorn') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("arguments", [["gc"], ["projections", "rebuild"], []])
def test_help_runs_on_to_the_width_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code_of([*arguments, "--help"]) == 0
    said = capsys.readouterr().out.partition("Options")[0].partition("Arguments")[0]
    paragraphs = [part.splitlines() for part in re.split(r"\n\s*\n", said.strip())]
    broken_off = [line for part in paragraphs for line in part[:-1] if len(line.rstrip()) < 60]
    assert broken_off == []
    assert any(len(part) > 1 for part in paragraphs)
