"""The commands for operators: `projections`, `rejections`, `gc`."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from events.catalogue import Topic
from events.log.port import HistoryCutOff
from projections.catalogue import PROJECTIONS, READERS, RUN_FILES, UnknownProjection, projection_named
from projections.filling import Helper
from projections.folding import ProjectionStopped, RowsRefused
from projections.projection import Projection
from projections.rebuild import AlreadyRebuilding, Rebuilt, prune, rebuild
from projections.run_files.keeper import FilesStopped
from projections.status import read_status
from services.artifacts import open_artifacts
from services.cli import parameters as given
from services.cli.clearing import collect_now
from services.cli.failures import Unsuccessful, WrongUsage
from services.cli.output import print_json, print_line, show, table, tell
from services.cli.refusals import Refusal, list_refusals, parse_place, resubmit, show_refusal
from services.cli.setting_up import settings_for_command
from services.cli.store import Store, opened_store
from services.collection.home import LEFT_HOURS
from services.garbage import spare_what_stays
from services.rebuilding import helpers
from services.run_files import run_files
from services.settings import Settings

commands = given.group()

projections = given.group("The read models.")
commands.add_typer(projections, name="projections", rich_help_panel=given.OPERATIONS)
rejections = given.group("Refused records.")
commands.add_typer(rejections, name="rejections", rich_help_panel=given.OPERATIONS)

Name = Annotated[
    str | None,
    typer.Argument(help=f"One of: {', '.join(READERS)}. All, if left out.", show_default=False),
]
Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="Its place, as `list` shows it: 3/17.", show_default=False)
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Show so many, the newest first.")]
Hours = Annotated[
    float, typer.Option("--older-than-hours", metavar="N", min=0, help="Leave what was touched since then.")
]


@projections.command("status")
def projections_status(json: given.Json = False) -> None:
    """Show how far each projection has read. Exit code 1: one stands still, or a history is broken."""

    async def read() -> None:
        async with opened_store(settings_for_command()) as store, store.pool.acquire() as connection:
            status = await read_status(connection, store.log)
        lines = [
            (p.projection, p.version, p.topic, p.partition, p.next_offset, p.end, p.standing, p.error)
            for p in status.projections
        ]
        columns = ("projection", "version", "topic", "partition", "offset", "end", "standing", "error")
        forked = {f"{project}/{run_id}": why for (project, run_id), why in status.quarantined.items()}
        if json:
            listed = [dict(zip(columns, line, strict=True)) for line in lines]
            print_json({"projections": listed, "quarantined": forked, "trouble": status.trouble})
        else:
            show(table(columns, lines))
            for name, why in forked.items():
                print_line(f"quarantined: {name}: {why}")
        if status.trouble is not None or forked:
            raise Unsuccessful(status.trouble or "a history is broken")

    asyncio.run(read())


@projections.command("rebuild")
def projections_rebuild(name: Name = None, json: given.Json = False) -> None:
    """Make projections again from the first event, compare with what was served, and serve the new rows.

    The run files are written anew from the tables, without a comparison. Exit code 1: the served rows were not
    what the history says, and are now; or something cannot be made again: a table is as it was then, and run
    files are finished by the projector.
    """

    async def rebuilt() -> None:
        settings, chosen = settings_for_command(), _chosen(name)
        async with opened_store(settings) as store:
            spare_what_stays()
            outcomes, troubles = await _rebuilt_tables(store, chosen, helpers(settings, store.servers))
            if name in (None, RUN_FILES.name):
                try:
                    outcomes.append(await _rebuilt_files(settings, store))
                except FilesStopped as error:
                    troubles.append(str(error))
        if json:
            print_json({"projections": outcomes})
        else:
            columns = ("projection", "version", "rows", "only in the old", "only in the new")
            show(
                table(columns, ((o.projection, o.version, o.rows, o.only_served, o.only_fresh) for o in outcomes))
            )
        differing = [outcome.projection for outcome in outcomes if outcome.differs]
        if differing:
            troubles.append(f"what was served differed: {', '.join(differing)}")
        if troubles:
            raise Unsuccessful("; ".join(troubles))

    asyncio.run(rebuilt())


async def _rebuilt_tables(
    store: Store, chosen: Sequence[Projection[Any]], helping: Sequence[Helper]
) -> tuple[list[Rebuilt], list[str]]:
    """What became of each, and why some were not made again: none keeps another from it."""
    outcomes, troubles = [], []
    for projection in chosen:
        try:
            outcomes.append(await rebuild(store.pool, store.log, projection, helpers=helping))
        except (ProjectionStopped, RowsRefused, HistoryCutOff, AlreadyRebuilding) as error:
            troubles.append(f"{projection.name} was not made again: {error}")
    return outcomes, troubles


def _chosen(name: str | None) -> Sequence[Projection[Any]]:
    """The tables that are to be made again."""
    if name is None:
        return PROJECTIONS
    try:
        return () if name == RUN_FILES.name else (projection_named(name),)
    except UnknownProjection as error:
        raise WrongUsage(str(error)) from error


async def _rebuilt_files(settings: Settings, store: Store) -> Rebuilt:
    """How many runs have their files anew; nothing is compared. Raises FilesStopped."""
    files = run_files(settings, store.pool, store.log, open_artifacts(settings.artifacts_url))
    written = [await files.rebuild(partition) for partition in await store.log.ends(Topic.EVENTS)]
    return Rebuilt(RUN_FILES.name, RUN_FILES.version, sum(written), 0, 0, comparable=False, replaced=True)


@projections.command("prune")
def projections_prune(json: given.Json = False) -> None:
    """Drop the tables of versions that are not served any more."""

    async def pruned() -> None:
        async with opened_store(settings_for_command()) as store:
            dropped = await prune(store.pool)
        if json:
            print_json({"dropped": dropped})
        else:
            print_line(f"Dropped {', '.join(dropped)}." if dropped else "Nothing to drop.")

    asyncio.run(pruned())


@rejections.command("list")
def rejections_list(
    project: given.Project = None, run: given.OfRun = None, limit: Limit = 50, json: given.Json = False
) -> None:
    """List refused records, the newest first, each with its reason."""

    async def listed() -> None:
        found = await list_refusals(settings_for_command(), project, run, limit)
        if json:
            print_json({"rejections": found})
        elif found:
            columns = ("place", "at", "project", "run", "type", "reason", "message")
            show(table(columns, map(_refusal_row, found)))
        else:
            tell("Nothing was refused.")

    asyncio.run(listed())


def _refusal_row(refusal: Refusal) -> tuple[object, ...]:
    kind = (refusal.type or "").removeprefix("autopack.")
    at = refusal.rejected_at[:19]
    return (refusal.place, at, refusal.project, refusal.run_id, kind, refusal.reason, refusal.message)


@rejections.command("show")
def rejections_show(place: Place, json: given.Json = False) -> None:
    """Show a refused record: where it came from, every fault, its bytes."""

    async def shown() -> None:
        refusal = await show_refusal(settings_for_command(), *parse_place(place))
        if json:
            print_json(refusal)
            return
        print_line(f"{refusal.place}: {refusal.reason}: {refusal.message}")
        print_line(f"from {refusal.source_place or 'an unknown place'}, at {refusal.rejected_at}")
        for fault in refusal.faults:
            print_line(f"  {fault['place']}: {fault['message']}")
        print_line(refusal.text)

    asyncio.run(shown())


@rejections.command("redrive")
def rejections_redrive(place: Place, json: given.Json = False) -> None:
    """Submit a refused record again, its very bytes: for when what was in its way is gone."""

    async def redriven() -> None:
        topic, partition, offset = await resubmit(settings_for_command(), *parse_place(place))
        if json:
            print_json({"topic": topic, "partition": partition, "offset": offset})
        else:
            print_line(f"Submitted again, as {topic}/{partition}/{offset}.")

    asyncio.run(redriven())


@commands.command(rich_help_panel=given.OPERATIONS)
def gc(
    older_than_hours: Hours = LEFT_HOURS,
    dry_run: bool = typer.Option(False, "--dry-run", help="Only list what would go."),
    json: given.Json = False,
) -> None:
    """Remove what nobody needs any more; services do so by themselves, every few hours.

    That is: what killed processes left in the home (clones, scratch folders, quarantines of patches); candidates,
    base commits and results of preparations that were not used for AUTOPACK_UNUSED_DAYS; patches and logs of runs
    that ended more than AUTOPACK_ARTIFACT_DAYS ago. History and run files are never touched; refusals whose
    records have expired are forgotten.
    """
    settings = settings_for_command()
    collected = asyncio.run(collect_now(settings, older_than_hours, dry_run=dry_run))
    if json:
        print_json(collected.document(dry_run=dry_run))
        return
    for line in collected.lines(dry_run=dry_run):
        print_line(line)
    if collected.trouble is not None:
        tell(f"Patches and logs were left alone. {collected.trouble}")
