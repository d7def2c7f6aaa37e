"""The commands `doctor` and `promote`, which look outside of runs."""

import asyncio
from typing import Annotated

import typer

from services.cli import parameters as given
from services.cli.doctor import Grade, examine
from services.cli.failures import Unsuccessful
from services.cli.output import print_json, print_line, show, table
from services.cli.promoting import promote_run
from services.cli.setting_up import settings_for_command

commands = given.group()

Branch = Annotated[
    str, typer.Option("--to", metavar="BRANCH", help="The branch to move forward.", show_default=False)
]


@commands.command(rich_help_panel=given.RUNS)
def promote(run: given.RunId, to: Branch, project: given.Project = None, json: given.Json = False) -> None:
    """Take a run's result over into a branch of its repository, as a fast-forward or not at all.

    Only a run that is DONE_SUCCESS, checked and clean is eligible. A branch that is checked out somewhere is
    left alone. Exit code 1: nothing was moved, or it is moved and the history does not show it yet.
    """
    promoted = asyncio.run(promote_run(settings_for_command(), run, to, project))
    if json:
        print_json(promoted)
    elif promoted.already:
        print_line(f"{promoted.branch} is at {promoted.commit[:12]} already.")
    else:
        print_line(f"{promoted.branch} moved from {promoted.previous[:12]} to {promoted.commit[:12]}.")


@commands.command(rich_help_panel=given.OPERATIONS)
def doctor(json: given.Json = False) -> None:
    """Look at what Autopack needs of this machine, and say how to get what is missing.

    Exit code 1: something is missing without which no run can work.
    """
    findings = asyncio.run(examine(settings_for_command()))
    if json:
        print_json({"findings": findings})
    else:
        show(table(("", "", "", "how to get it"), ((f.grade, f.name, f.message, f.remedy) for f in findings)))
    missing = [finding.name for finding in findings if finding.grade is Grade.MISSING]
    if missing:
        raise Unsuccessful(f"something is missing: {', '.join(missing)}")
