"""`autopack gc` on the home of a real run, and what commands say afterwards."""

import os
from pathlib import Path
from time import time

from support.command_line import CommandLine

MONTH_SECONDS = 30 * 86_400.0


def age(folder: Path) -> None:
    """Let everything below a folder be a month old."""
    for path in folder.rglob("*"):
        os.utime(path, (time() - MONTH_SECONDS,) * 2, follow_symlinks=False)


async def test_what_an_ended_run_needed_goes_and_what_landed_stays(cli: CommandLine) -> None:
    plan = cli.plan(phases=1, run_id="shop-1")
    done = await cli.run("run", plan, "--repo", "shop", "--builder-command", cli.builder())
    assert done.exit_code == 0, done.err
    age(cli.home / "artifacts")
    age(cli.home / "mirrors")
    refs = cli.git("for-each-ref")
    cli.variables = {"AUTOPACK_ARTIFACT_DAYS": "0"}
    gone = (await cli.run("gc", "--json")).document
    assert gone["artifacts"] >= 2, "a patch and a log at least"
    assert gone["answers"] >= 2, "of the builder and the verifier"
    assert [reference.split()[1].split("/")[1] for reference in gone["references"]] == ["autopack", "bases"]
    assert gone["trouble"] is None
    logs = await cli.run("logs", "shop-1", "P1")
    assert logs.exit_code == 0, logs.err
    assert "not kept any more: the run ended on" in logs.out
    assert "building" not in logs.out
    changed = await cli.run("diff", "shop-1", "P1")
    assert changed.exit_code == 0, changed.err
    assert "P1.txt" in changed.out
    assert cli.git("for-each-ref") == refs
