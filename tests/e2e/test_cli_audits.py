"""`autopack audit verify` on a history that others have had their hands in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
from contract.providers.postgres import write_foreign

from events.catalogue import Topic
from events.log.port import Place
from services.embedded.postgres import EmbeddedPostgres
from support.command_line import CommandLine

RUNS = ("whole", "added", "cut")
_LAST = """
SELECT topic, partition, "offset", key, value FROM autopack_log.records
WHERE topic = 'autopack.events' AND headers->>'run' = $1 ORDER BY "offset" DESC LIMIT 1
"""
_LOSE = 'DELETE FROM autopack_log.records WHERE topic = $1 AND partition = $2 AND "offset" = $3'


@asynccontextmanager
async def opened(cli: CommandLine) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    """The server of the home, as somebody with its password has it."""
    async with EmbeddedPostgres(cli.home) as server:
        connection = await asyncpg.connect(server.url)
        try:
            yield server.url, connection
        finally:
            await connection.close()


async def test_it_ends_with_1_where_records_were_added_by_somebody_else_or_are_lost(cli: CommandLine) -> None:
    for run_id in RUNS:
        plan = cli.plan(run_id=run_id, phases=1)
        done = await cli.run("run", plan, "--repo", "shop", "--builder-command", cli.builder())
        assert done.exit_code == 0, done.err
    honest = await cli.run("audit", "verify", "--json")
    assert (honest.exit_code, honest.document["whole"]) == (0, True)

    async with opened(cli) as (url, connection):
        added = await connection.fetchrow(_LAST, "added")
        cut = await connection.fetchrow(_LAST, "cut")
        place = Place(Topic(added["topic"]), added["partition"])
        # Without the header by which the records of a run are found, as a stranger writes it.
        await write_foreign(url, place, added["key"], added["value"].replace(b'"id":"', b'"id":"0', 1), {})
        assert await connection.execute(_LOSE, cut["topic"], cut["partition"], cut["offset"]) == "DELETE 1"

    harmed = await cli.run("audit", "verify", "--json")
    assert (harmed.exit_code, harmed.document["whole"]) == (1, False)
    faults: Mapping[str, str | None] = {run["run_id"]: run["fault"] for run in harmed.document["runs"]}
    assert faults["whole"] is None
    assert "does not extend the chain" in str(faults["added"])
    assert "not in the log" in str(faults["cut"])
    assert "2 of 3 histories are broken" in harmed.err
