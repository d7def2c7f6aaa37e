"""The checker of the invariants finds what is broken on purpose, and nothing in builds that are whole."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from faults.invariants import INVARIANTS, check, judge
from faults.invariants.evidence import Evidence
from faults.invariants.gathering import gather
from faults.invariants.ground import Ground, grounded, services, until_ended, until_served
from faults.invariants.read_models import AUTOPACK
from faults.invariants.sabotages import SABOTAGES
from faults.invariants.tampered_histories import TAMPERED_HISTORIES, Tampering
from faults.invariants.tampered_surroundings import TAMPERED_SURROUNDINGS
from servers.kafka import KafkaBroker
from servers.postgres import PostgresServer
from services.settings import Settings
from support.repositories import git

pytestmark = pytest.mark.timeout(300)

UNTOUCHED = "untouched"
CAUGHT_AS = {
    "unwritten": "I1",
    "passed-over": "I1",
    "committed-twice": "I2",
    "written-twice": "I3",
    "answered-twice": "answers",
    "left-out": "I3",
    "skipped-row": "I4",
    "counted-twice": "I4",
    "moved-main": "I5",
    "rewound": "I5",
    "left-behind": "I6",
    "endless": "I7",
    "unchained": "I8",
    "started-twice": "agents",
}


async def _sabotaged(server: PostgresServer, folder: Path) -> list[str]:
    """What is found where each sabotage falls on a run of its own."""
    async with server.fresh_database() as url:
        settings = Settings(home=folder / "home", log=url, database=url, partitions=1)
        async with grounded(settings, folder) as ground:
            try:
                async with services(ground, sys.executable, "-m", "faults.invariants.sabotages"):
                    await _build_under_sabotage(ground)
                async with _open_transaction(url):
                    return await check(ground.world)
            finally:
                _end_stray(folder / "stray")


async def _build_under_sabotage(ground: Ground) -> None:
    plans = {
        project: ground.plan(project, 2 if project == "rewound" else 1) for project in (*SABOTAGES, UNTOUCHED)
    }
    await ground.post(plans.pop("unwritten"))
    for project, plan in plans.items():
        await ground.submit("RunRequested", project, plan)
    await until_ended(ground, plans.keys() - {"passed-over", "endless", "left-out"})
    await ground.submit("RunCancelRequested", "left-out", {"reason": "nobody has heard of its build"})
    await until_ended(ground, ["left-out"])
    await until_served(ground)
    ground.keep_starts()


@asynccontextmanager
async def _open_transaction(url: str) -> AsyncIterator[None]:
    """Somebody's who has begun something and gone to sleep."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        yield
    finally:
        await connection.close()


def _end_stray(file: Path) -> None:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.killpg(int(file.read_text()), signal.SIGKILL)


async def _whole(settings: Settings, folder: Path) -> Evidence:
    """The evidence of builds that nobody has tampered with: one that succeeds, in several phases and promoted
    afterwards, one whose change is refused, one that is cancelled; and of a command that is refused.
    """
    async with grounded(settings, folder) as ground:
        async with services(ground, str(AUTOPACK), "up"):
            await _build(ground)
        return await gather(ground.world)


async def _build(ground: Ground) -> None:
    await ground.post(ground.plan("succeeds", 3))
    refused = ground.plan("refused")
    refused["phases"][0]["scope"] = ["src/**"]
    await ground.submit("RunRequested", "refused", refused)
    await ground.submit("RunRequested", "cancelled", ground.plan("cancelled"))
    await ground.submit("RunCancelRequested", "cancelled", {"reason": "enough"})
    await ground.submit("RunCancelRequested", "never-begun", {"reason": "there is no such run"})
    await until_ended(ground, ["succeeds", "refused", "cancelled"])
    repo = ground.repositories[0]
    git(repo, "merge", "--quiet", "--ff-only", "autonomous/run-of-succeeds")
    promoted = {"branch": "main", "commit": git(repo, "rev-parse", "main")}
    await ground.submit("RunPromoted", "succeeds", promoted)
    await until_served(ground)
    ground.keep_starts()


@pytest.fixture(scope="module")
def violations(
    session_runner: asyncio.Runner, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    return session_runner.run(_sabotaged(postgres_server, tmp_path_factory.mktemp("sabotaged")))


@pytest.fixture(scope="module")
def whole(
    session_runner: asyncio.Runner, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Evidence:
    folder = tmp_path_factory.mktemp("whole")

    async def built() -> Evidence:
        async with postgres_server.fresh_database() as url:
            return await _whole(Settings(home=folder / "home", log=url, database=url, partitions=2), folder)

    return session_runner.run(built())


def _of(project: str, violations: Sequence[str]) -> list[str]:
    return [violation for violation in violations if project in violation]


@pytest.mark.parametrize("sabotage", [name for name in SABOTAGES if name not in ("unwritten", "left-behind")])
def test_a_sabotaged_build_is_caught(violations: list[str], sabotage: str) -> None:
    named = {violation.partition(":")[0] for violation in _of(sabotage, violations)}
    assert CAUGHT_AS[sabotage] in named, violations


def test_a_log_that_acknowledges_what_it_does_not_write_is_caught(violations: list[str]) -> None:
    assert [one for one in violations if one.startswith("I1: event ") and "/-1/-1" in one], violations


def test_a_clone_a_sandbox_locks_and_a_transaction_that_are_left_behind_are_caught(violations: list[str]) -> None:
    found = [violation for violation in violations if violation.startswith("I6: ")]
    signs = (
        *("sleep 600", "home/work/", "left-behind/.git/refs/heads/main.lock", "collection.flock is held"),
        "a transaction stands open",
    )
    for sign in signs:
        assert [violation for violation in found if sign in violation], found
    assert len([violation for violation in found if "sleep 600" not in violation]) == len(signs) - 1, found


def test_nothing_is_found_in_the_build_beside_the_sabotaged_ones(violations: list[str]) -> None:
    assert _of(UNTOUCHED, violations) == []


def test_every_sabotage_has_an_invariant_that_catches_it() -> None:
    assert CAUGHT_AS.keys() == SABOTAGES.keys()
    assert set(CAUGHT_AS.values()) >= INVARIANTS.keys()


def test_builds_on_postgres_that_nobody_has_tampered_with_keep_every_invariant(whole: Evidence) -> None:
    assert judge(whole) == []
    built = {record.request_id for record in whole.log.history if record.name == "BuildSucceeded"}
    assert built <= whole.kept.keys(), "it is not seen which answers were kept"


async def test_builds_on_kafka_that_nobody_has_tampered_with_keep_every_invariant(
    kafka_broker: KafkaBroker, database_url: str, tmp_path: Path
) -> None:
    log, prefix = f"kafka://{kafka_broker.bootstrap}", f"t{uuid4().hex[:10]}."
    chosen = {"log": log, "topic_prefix": prefix, "database": database_url, "partitions": 2}
    evidence = await _whole(Settings(home=tmp_path / "home", **chosen), tmp_path)
    assert judge(evidence) == []
    assert {"RunCompleted", "RunFailed", "RunPromoted"} <= {record.name for record in evidence.log.history}
    assert len(evidence.starts) >= 4


@pytest.mark.parametrize(
    ("invariant", "tampering"),
    [
        pytest.param(name, one, id=one.__name__)
        for table in (TAMPERED_HISTORIES, TAMPERED_SURROUNDINGS)
        for name, found in table.items()
        for one in found
    ],
)
def test_what_went_wrong_is_found(whole: Evidence, invariant: str, tampering: Tampering) -> None:
    # The starts are in no order, and whichever comes first is tampered with.
    turns = range(len(whole.starts)) if invariant == "agents" else range(1)
    assert turns
    for turn in turns:
        found = judge(tampering(replace(whole, starts=[*whole.starts[turn:], *whole.starts[:turn]])))
        assert invariant in {violation.partition(":")[0] for violation in found}, found
