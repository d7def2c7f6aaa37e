"""What several commands share: their parameters, and how their help is shown."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.services_here import EVERYTHING

PLANS, RUNS, HISTORY, OPERATIONS = "Plans", "Runs", "History", "Operations"
"""What commands are shown under."""


def group(about: str | None = None) -> typer.Typer:
    """Commands whose help runs on to the width of the terminal, a paragraph for each of a docstring's."""
    return typer.Typer(help=about, no_args_is_help=about is not None, rich_markup_mode="markdown")


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and messages on stderr.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run.", show_default=False)]
PhaseId = Annotated[
    str | None, typer.Argument(metavar="[PHASE]", help="The id of one of its phases.", show_default=False)
]
OptionalRunId = Annotated[str | None, typer.Argument(metavar="[RUN]", help="The id of a run.", show_default=False)]
Project = Annotated[
    str | None,
    typer.Option(help="The project, where several have a run of that id.", show_default=False),
]
PlanName = Annotated[
    str,
    typer.Argument(
        metavar="PLAN", help="A plan file: JSON, TOML or YAML; - is standard input.", show_default=False
    ),
]
Repository = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="DIR_OR_URL",
        help="The git repository to work on. Its committed state counts; a checkout is never touched.",
        show_default=False,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(metavar="REF", help="Where to start from; the default branch if left out.", show_default=False),
]
NewRunId = Annotated[
    str | None, typer.Option("--run-id", help="The id of the run; made if left out.", show_default=False)
]
NewProject = Annotated[
    str | None,
    typer.Option(
        help="The project, within which run ids are unique. Default: AUTOPACK_PROJECT.", show_default=False
    ),
]
Scope = Annotated[
    str | None, typer.Option(metavar="SCOPE", help="multi_tier (all in order) or single_tier.", show_default=False)
]
Tier = Annotated[
    str | None, typer.Option(metavar="TIER", help="Only this tier (single_tier).", show_default=False)
]
SafetyProfile = Annotated[
    str | None,
    typer.Option(
        metavar="PROFILE", help="normal or safety_critical (strict checks, no tolerance).", show_default=False
    ),
]
BuilderName = Annotated[
    str | None, typer.Option(metavar="NAME", help="A builder of agents.toml.", show_default=False)
]
AuditorName = Annotated[
    str | None, typer.Option(metavar="NAME", help="An auditor of agents.toml.", show_default=False)
]
Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="CMD",
        help="A command that must exit 0 on every candidate, besides the repository's own. Repeatable.",
        show_default=False,
    ),
]
TestCommands = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="CMD",
        help="A command that runs the tests, in place of those that would be found. Repeatable.",
        show_default=False,
    ),
]
TokenCap = Annotated[
    int | None, typer.Option(metavar="N", help="End the run when it has used so many tokens.", show_default=False)
]
MaxCost = Annotated[
    float | None,
    typer.Option(metavar="AMOUNT", help="End the run when it has cost so many US dollars.", show_default=False),
]
MaxDuration = Annotated[
    float | None,
    typer.Option(
        "--max-duration-minutes", metavar="N", help="End the run after so many minutes.", show_default=False
    ),
]
BuilderCommand = Annotated[
    str | None,
    typer.Option(
        metavar="CMD",
        help="Build with this command, without agents.toml. Only where no service runs; kept in no event.",
        show_default=False,
    ),
]
AuditorCommand = Annotated[
    str | None, typer.Option(metavar="CMD", help="Audit with this command, likewise.", show_default=False)
]
Folder = Annotated[
    Path, typer.Option("--repo", metavar="DIR", help="The repository.", show_default="the current folder")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the history.", show_default=False)]
ServiceName = Annotated[
    str,
    typer.Argument(metavar="SERVICE", help=f"One of: {', '.join(sorted(EVERYTHING))}.", show_default=False),
]
OfRun = Annotated[
    str | None, typer.Option("--run", metavar="RUN", help="Only those of this run.", show_default=False)
]
