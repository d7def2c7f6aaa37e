"""What a template forks is the command `autopack`, as a process of its own whose end is told."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faults.template import Template, TemplateEnded

MARKER = "WORLD_OF_TEMPLATES"
AWAY = "postgresql://127.0.0.1:1/away"
LIMIT_SECONDS = 60.0


@pytest.fixture
async def template(tmp_path: Path) -> AsyncIterator[Template]:
    made = Template()
    await made.open(tmp_path / "template.log", MARKER)
    yield made
    await made.close()


def environment_of(home: Path) -> dict[str, str]:
    """Of services whose servers are nowhere."""
    return {
        "PATH": os.environ["PATH"],
        "AUTOPACK_HOME": str(home),
        "AUTOPACK_LOG": AWAY,
        "AUTOPACK_DATABASE": AWAY,
    }


async def test_a_forked_command_reads_its_own_environment_and_tells_its_exit_code(
    template: Template, tmp_path: Path
) -> None:
    output = tmp_path / "said"
    async with asyncio.timeout(LIMIT_SECONDS):
        told = await template.start(["--version"], environment_of(tmp_path), tmp_path, output)
        assert await told.ended == 0
        wrong = {**environment_of(tmp_path), "AUTOPACK_LOG": "nowhere"}
        refused = await template.start(["serve", "supervisor"], wrong, tmp_path, output)
        assert await refused.ended == 2
    said = output.read_text()
    assert said.startswith("autopack ")
    assert "AUTOPACK_LOG: " in said


async def test_a_forked_service_leads_a_session_bears_the_marker_and_is_missed_when_killed(
    template: Template, tmp_path: Path
) -> None:
    output = tmp_path / "said"
    async with asyncio.timeout(LIMIT_SECONDS):
        child = await template.start(["serve", "applier"], environment_of(tmp_path), tmp_path, output)
        while not (output.exists() and "applier is running" in output.read_text()):
            await asyncio.sleep(0.02)
        assert os.getsid(child.pid) == child.pid
        assert f"{MARKER}=1".encode() in Path(f"/proc/{child.pid}/environ").read_bytes().split(b"\0")
        child.send(signal.SIGKILL)
        assert await child.ended == -signal.SIGKILL


async def test_what_a_template_has_started_ends_with_it(tmp_path: Path) -> None:
    template = Template()
    await template.open(tmp_path / "template.log", MARKER)
    async with asyncio.timeout(LIMIT_SECONDS):
        child = await template.start(["serve", "applier"], environment_of(tmp_path), tmp_path, tmp_path / "said")
        await template.close()
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        with pytest.raises(TemplateEnded):
            await template.start(["--version"], environment_of(tmp_path), tmp_path, tmp_path / "said")


async def test_a_signal_to_the_group_of_a_test_session_does_not_end_a_template_before_its_children(
    template: Template,
) -> None:
    """Ctrl-C goes to a group. The template is in one of its own, and ends when nobody speaks to it any more."""
    own = template._process
    assert own is not None
    assert os.getpgid(own.pid) == own.pid != os.getpgid(0)


async def test_a_start_that_is_given_up_leaves_no_child_and_others_are_started_as_before(
    template: Template, tmp_path: Path
) -> None:
    home, output = environment_of(tmp_path), tmp_path / "said"
    async with asyncio.timeout(LIMIT_SECONDS):
        given_up = asyncio.create_task(template.start(["serve", "applier"], home, tmp_path, output))
        await asyncio.sleep(0)  # it has been asked for
        given_up.cancel()
        told = await template.start(["--version"], home, tmp_path, output)
        assert await told.ended == 0
        while template._children:
            await asyncio.sleep(0.02)
