"""The commands `init`, `plan check`, `run` and `start`."""

import asyncio
import shlex
from pathlib import Path

import typer

from events.plan import RunRequest
from services.cli import parameters as given
from services.cli.checking import as_document, as_text, check_plan, invalid_document
from services.cli.failures import PlanInvalid, WrongUsage
from services.cli.initialising import initialise, missing_programs
from services.cli.output import print_json, print_line, show, tell
from services.cli.plan_files import read_plan
from services.cli.reaching import running_service
from services.cli.repositories import CONFIGURATION, repository_address, root_of
from services.cli.run_requests import Overrides, run_request
from services.cli.running import Manner, run_plan, submit
from services.cli.setting_up import settings_for_command
from services.settings import Settings

commands = given.group()

plans = given.group("Plans, before they are run.")
commands.add_typer(plans, name="plan", rich_help_panel=given.PLANS)


@commands.command(rich_help_panel=given.PLANS)
def init(folder: given.Folder = Path(), check: given.TestCommands = None, json: given.Json = False) -> None:
    """Write an autopack.toml for a repository: finds out how it is tested, and checks what it wrote.

    Nothing is overwritten. Commit the file: a run reads it at the commit that it starts from.
    """
    settings_for_command()
    root = root_of(folder)
    found = initialise(root, tuple(_argv("--check", command) for command in check or ()))
    missing = missing_programs(found)
    if json:
        checks = [{"name": tests.name, "argv": tests.argv, "found_in": tests.found_in} for tests in found]
        print_json({"file": str(root / CONFIGURATION), "checks": checks, "missing_programs": missing})
    else:
        print_line(f"Wrote {root / CONFIGURATION}:")
        for tests in found:
            print_line(f"  {tests.name}: {' '.join(tests.argv)}  (by {tests.found_in})")
        print_line("Look it over and commit it: a run reads it at the commit that it starts from.")
    for program in missing:
        tell(f"{program} is not on this machine: the check could not start here.")


@plans.command("check")
def check(
    plan: given.PlanName,
    repo: given.Repository = None,
    base: given.Base = None,
    json: given.Json = False,
) -> None:
    """Validate a plan, list every fault with its place, and print the strategy that a run of it would freeze.

    With --repo the repository's own autopack.toml counts as well. Exit code 2: the plan cannot be run.
    """
    settings = settings_for_command()
    try:
        file = read_plan(plan)
        overrides = Overrides(repository=_repository(repo, settings), base=base)
        checked = check_plan(file, run_request(file, overrides, repository_needed=False))
    except PlanInvalid as error:
        if json:
            print_json(invalid_document(error))
        raise
    if json:
        print_json(as_document(checked))
    else:
        show(*as_text(checked))


@commands.command(rich_help_panel=given.PLANS)
def run(
    plan: given.PlanName,
    repo: given.Repository = None,
    base: given.Base = None,
    run_id: given.NewRunId = None,
    project: given.NewProject = None,
    run_scope: given.Scope = None,
    tier: given.Tier = None,
    safety_profile: given.SafetyProfile = None,
    builder: given.BuilderName = None,
    auditor: given.AuditorName = None,
    check: given.Checks = None,
    token_cap: given.TokenCap = None,
    max_cost: given.MaxCost = None,
    max_duration: given.MaxDuration = None,
    builder_command: given.BuilderCommand = None,
    auditor_command: given.AuditorCommand = None,
    detach: bool = typer.Option(False, "--detach", help="Only submit it to a service that runs already."),
    json: given.Json = False,
) -> None:
    """Submit a plan and follow its run to the end.

    Where no service runs (`autopack up`, AUTOPACK_URL), one is started in this process for as long as it is
    needed; what a killed one left open goes on. The result is the branch autonomous/RUN and its tags.
    Ctrl-C cancels the run and waits for its end; a second one leaves at once.
    Exit codes: 0 done; 1 the run ended without success; 2 an invalid plan; 3 no service; 130 interrupted.
    """
    settings = settings_for_command()
    overrides = Overrides(
        repository=_repository(repo, settings),
        base=base,
        run_id=run_id,
        project=project,
        run_scope=run_scope,
        tier=tier,
        safety_profile=safety_profile,
        builder=builder,
        auditor=auditor,
        checks=tuple(check or ()),
        token_cap=token_cap,
        max_cost_usd=max_cost,
        max_duration_minutes=max_duration,
    )
    request = _request(plan, overrides, settings)
    given_commands = {"builder": builder_command, "auditor": auditor_command}
    agent_commands = {
        role: _argv(f"--{role}-command", command)
        for role, command in given_commands.items()
        if command is not None
    }
    asyncio.run(run_plan(settings, request, Manner(agent_commands, detach, json)))


@commands.command(rich_help_panel=given.PLANS)
def start(
    plan: given.PlanName,
    repo: given.Repository = None,
    base: given.Base = None,
    run_id: given.NewRunId = None,
    project: given.NewProject = None,
    json: given.Json = False,
) -> None:
    """Submit a plan to the service that runs, and return: `autopack run --detach` with fewer options."""
    settings = settings_for_command()
    overrides = Overrides(repository=_repository(repo, settings), base=base, run_id=run_id, project=project)
    request = _request(plan, overrides, settings)

    async def submitted() -> None:
        async with running_service(settings) as client:
            started, started_project = await submit(client, request)
            if json:
                print_json(await client.of_project(started_project).run(started))
            else:
                print_line(f"{started} is on its way: autopack watch {started}")

    asyncio.run(submitted())


def _request(plan: str, overrides: Overrides, settings: Settings) -> RunRequest:
    """The request; a service elsewhere may fill in a repository, this process has its own setting."""
    elsewhere = settings.url is not None or settings.repository is not None
    return run_request(read_plan(plan), overrides, repository_needed=not elsewhere)


def _repository(repo: str | None, settings: Settings) -> str | None:
    """A folder here becomes its absolute root. A service elsewhere knows folders of its own machine."""
    if repo is None or (settings.url is not None and not Path(repo).exists()):
        return repo
    return repository_address(repo)


def _argv(option: str, command: str) -> tuple[str, ...]:
    try:
        argv = tuple(shlex.split(command))
    except ValueError as error:
        raise WrongUsage(f"{option} {command!r}: {error}") from error
    if not argv:
        raise WrongUsage(f"{option} needs a command")
    return (_located(argv[0], "/" in argv[0]), *(_located(a, a.startswith(("./", "../"))) for a in argv[1:]))


def _located(argument: str, is_path: bool) -> str:
    """A path is meant from here, where the user is: the agent starts somewhere else, in a clone of its own."""
    return str(Path(argument).absolute()) if is_path else argument
