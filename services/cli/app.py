"""The command `autopack`: its commands put together, and how its failures become exit codes."""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from services.cli.failures import INTERRUPTED, SUCCESS, UNSUCCESSFUL, CommandFailure
from services.cli.loading import Commands, load_for
from services.cli.output import print_line, tell

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
        cls=Commands,
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_main)
    return app


def exit_code_of(arguments: list[str]) -> int:
    """Carry out a command line; what went wrong is told on stderr, and says itself in the exit code."""
    try:
        load_for(arguments)
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
