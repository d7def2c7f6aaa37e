"""The command `autopack`: its commands put together, and how its failures become exit codes."""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from services.cli import (
    commands_of_history,
    commands_of_machines,
    commands_of_operations,
    commands_of_plans,
    commands_of_runs,
    commands_of_services,
)
from services.cli.failures import INTERRUPTED, SUCCESS, UNSUCCESSFUL, CommandFailure
from services.cli.output import print_line, tell

RUNS = "Runs"
PLANS = "Plans"
HISTORY = "History"
OPERATIONS = "Operations"

HELP = """Run plans of build phases by coding agents, with every step kept as an immutable event.

Begin with `autopack init` in a repository, then `autopack run PLAN --repo .`

Exit codes: 0 done; 1 unsuccessful; 2 wrong usage or an invalid plan; 3 a service cannot be reached;
130 interrupted. Settings: AUTOPACK_HOME, AUTOPACK_LOG, AUTOPACK_URL …, in the environment or a .env file.
"""


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"autopack {version('autopack')}")
        raise typer.Exit


def _main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any command."""


def create_app() -> typer.Typer:
    """Every command by its name."""
    app = typer.Typer(
        name="autopack",
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_main)
    _add_plans_and_runs(app)
    _add_history_and_operations(app)
    return app


def _add_plans_and_runs(app: typer.Typer) -> None:
    app.command(rich_help_panel=PLANS)(commands_of_plans.init)
    app.add_typer(commands_of_plans.plans, name="plan", rich_help_panel=PLANS)
    app.command(rich_help_panel=PLANS)(commands_of_plans.run)
    app.command(rich_help_panel=PLANS)(commands_of_plans.start)
    app.command(rich_help_panel=RUNS)(commands_of_runs.status)
    app.command(rich_help_panel=RUNS)(commands_of_runs.watch)
    app.command(rich_help_panel=RUNS)(commands_of_runs.cancel)
    app.command(rich_help_panel=RUNS)(commands_of_runs.retry)
    app.command(rich_help_panel=RUNS)(commands_of_runs.report)
    app.command(rich_help_panel=RUNS)(commands_of_runs.diff)
    app.command(rich_help_panel=RUNS)(commands_of_runs.logs)
    app.command(rich_help_panel=RUNS)(commands_of_machines.promote)


def _add_history_and_operations(app: typer.Typer) -> None:
    app.command(rich_help_panel=HISTORY)(commands_of_history.events)
    app.command("replay", rich_help_panel=HISTORY)(commands_of_history.replay_)
    app.add_typer(commands_of_history.audits, name="audit", rich_help_panel=HISTORY)
    app.command(rich_help_panel=OPERATIONS)(commands_of_services.up)
    app.command(rich_help_panel=OPERATIONS)(commands_of_services.serve)
    app.add_typer(commands_of_operations.projections, name="projections", rich_help_panel=OPERATIONS)
    app.add_typer(commands_of_operations.rejections, name="rejections", rich_help_panel=OPERATIONS)
    app.command(rich_help_panel=OPERATIONS)(commands_of_operations.gc)
    app.command(rich_help_panel=OPERATIONS)(commands_of_machines.doctor)


def exit_code_of(arguments: list[str]) -> int:
    """Carry out a command line; what went wrong is told on stderr, and says itself in the exit code."""
    try:
        create_app()(arguments, prog_name="autopack")
    except SystemExit as ended:
        return _code(ended)
    except CommandFailure as failure:
        if str(failure):
            tell(f"autopack: {failure}")
        return failure.exit_code
    except KeyboardInterrupt:
        tell("autopack: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNSUCCESSFUL
    except OSError as error:
        tell(f"autopack: {error}")
        return UNSUCCESSFUL
    return SUCCESS


def _code(ended: SystemExit) -> int:
    return ended.code if isinstance(ended.code, int) else SUCCESS if ended.code is None else UNSUCCESSFUL
