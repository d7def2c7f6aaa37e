"""Backup and restore as the page on them says, by its very commands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from servers.kafka import KafkaBroker
from servers.postgres import PostgresServer
from support.command_line import CommandLine, keeper_lives, until
from support.documents import DOCS, blocks_of

PAGE = DOCS / "operations" / "backup.md"


def commands(heading: str) -> list[str]:
    """The blocks of shell under a heading of the page."""
    return [block.text for block in blocks_of(PAGE) if (block.language, block.heading) == ("sh", heading)]


def perform(cli: CommandLine, script: str) -> str:
    """Run a block of the page as a person would who stops at the first failure; what it printed."""
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=cli.folder,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def build(cli: CommandLine, run_id: str) -> None:
    """A whole run, to a good end."""
    plan = cli.plan(f"{run_id}.json", phases=1, run_id=run_id)
    done = await cli.run("run", plan, "--repo", "shop", "--builder-command", cli.builder())
    assert done.exit_code == 0, done.err


async def records(cli: CommandLine, run_id: str) -> list[str]:
    """The exact records of a run."""
    done = await cli.run("events", run_id, "--json")
    assert done.exit_code == 0, done.err
    assert done.out.splitlines()
    return done.out.splitlines()


async def test_an_embedded_store_is_restored_from_what_was_copied_and_goes_on(cli: CommandLine) -> None:
    backup, restore = commands("The embedded store")
    await build(cli, "before")
    known = await records(cli, "before")
    await until(lambda: not keeper_lives(cli.home), "the embedded server to stop")
    perform(cli, backup)
    await until(lambda: not keeper_lives(cli.home), "the embedded server to stop")
    cli.home.rename(cli.folder / "lost")
    printed = perform(cli, restore)
    assert "before" in printed
    assert await records(cli, "before") == known
    assert (cli.home / ".autonomous_runs" / "before" / "run_summary.md").exists()
    logs = await cli.run("logs", "before", "--json")
    assert "building P1" in str(logs.document), "artifacts came along"
    await build(cli, "after")
    assert cli.git("tag", "--list").split() == [
        f"autonomous/{run}/tier-T1/phase-P1" for run in ("after", "before")
    ]


async def test_an_embedded_store_is_not_copied_while_its_server_runs(cli: CommandLine) -> None:
    """The page's first command says so: a copy of a folder under a server that writes to it is worth nothing."""
    backup, _ = commands("The embedded store")
    (cli.home / "postgres" / "data").mkdir(parents=True)
    running = cli.home / "postgres" / "data" / "postmaster.pid"
    running.touch()
    with pytest.raises(AssertionError):
        perform(cli, backup)
    running.unlink()
    assert not (cli.folder / "autopack.tar").exists()


async def test_a_kafka_is_restored_from_its_folders_and_the_tables_are_made_again(
    cli: CommandLine, own_kafka_broker: KafkaBroker, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    (check,) = commands("Kafka")
    folders, saved = tmp_path / "kafka" / "log", tmp_path / "saved"
    log = {"AUTOPACK_LOG": f"kafka://{own_kafka_broker.bootstrap}", "AUTOPACK_PARTITIONS": "2"}
    async with postgres_server.fresh_database() as first, postgres_server.fresh_database() as second:
        cli.variables = {**log, "AUTOPACK_DATABASE": first}
        await build(cli, "before")
        known = await records(cli, "before")
        await own_kafka_broker.stop()
        shutil.copytree(folders, saved)
        shutil.rmtree(folders)
        shutil.move(saved, folders)
        await own_kafka_broker.start()
        cli.variables = {**log, "AUTOPACK_DATABASE": second}
        await build(cli, "after")
        assert "behind" not in perform(cli, check)
        assert await records(cli, "before") == known
        listed = await cli.run("status", "--json")
        assert {run["run_id"] for run in listed.document["runs"]} == {"before", "after"}
