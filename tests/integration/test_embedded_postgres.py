"""The embedded Postgres: shared by the processes of one home, and unbroken by the death of any of them."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from events.log.postgres.failures import OUTAGES
from services.embedded.binaries import locate_binaries
from services.embedded.cluster import give, make_cluster, start_server, stop_server, until_ready
from services.embedded.launch import UNPRIVILEGED_ID, as_another_user, choose_launch, in_a_namespace
from services.embedded.layout import Layout
from services.embedded.leftovers import clear_leftovers, servers_in
from services.embedded.locks import is_held_exclusively
from services.embedded.postgres import EmbeddedPostgres, ServerDidNotStart

SHARE = """
import asyncio, sys
from pathlib import Path
from services.embedded.postgres import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def until(condition: Callable[[], bool], limit_seconds: float = 20) -> None:
    async with asyncio.timeout(limit_seconds):
        while not condition():
            await asyncio.sleep(0.02)


def keepers_of(home: Path) -> list[psutil.Process]:
    root = str(Layout.under(home).root)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if "services.embedded.keeper" in command and root in command:
                found.append(process)
    return found


def is_stopped(home: Path) -> bool:
    """The command line of a process that ends is gone before its locks are."""
    layout = Layout.under(home)
    held = is_held_exclusively(layout.keeper) or is_held_exclusively(layout.serving)
    return not held and not any(servers_in(layout.data)) and not keepers_of(home)


def leader_of(home: Path) -> int:
    return int((Layout.under(home).data / "postmaster.pid").read_text().split()[0])


@asynccontextmanager
async def share_in_another_process(home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SHARE, str(home)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert (await process.stdout.readline()).startswith(b"postgresql://")
        yield process
    finally:
        process.stdin.close()
        await process.wait()


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def until_it_answers(url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(*OUTAGES):
                await execute(url, "SELECT 1")
                return
            await asyncio.sleep(0.05)


async def test_it_is_postgres_18_and_safe_against_power_cuts(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        assert str(await execute(server.url, "SHOW server_version")).startswith("18.")
        assert await execute(server.url, "SHOW fsync") == "on"
        assert await execute(server.url, "SHOW synchronous_commit") == "on"


async def test_no_network_address_is_listened_on(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path):
        leader = psutil.Process(leader_of(tmp_path))
        assert leader.net_connections("inet") == []


async def test_only_its_user_can_reach_it_and_no_folder_above_is_opened(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with EmbeddedPostgres(closed / "home") as server:
        layout = Layout.under(closed / "home")
        await execute(server.url, "SELECT 1")
        for folder in (closed, layout.root, layout.data, layout.socket_folder()):
            assert folder.stat().st_mode & 0o777 == 0o700


async def test_text_sorts_by_code_point_and_knows_the_case_of_all_letters(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        assert await execute(server.url, "SELECT upper('é')") == "É"
        assert await execute(server.url, "SELECT 'Z' < 'a'") is True


async def test_the_last_share_given_back_stops_the_server(tmp_path: Path) -> None:
    first, second = EmbeddedPostgres(tmp_path), EmbeddedPostgres(tmp_path)
    await first.start()
    await second.start()
    await first.release()
    assert await execute(second.url, "SELECT 1") == 1
    await second.release()
    assert is_stopped(tmp_path)


async def test_a_share_can_be_given_back_twice(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    await server.release()
    await server.start()
    await server.release()
    await server.release()
    assert is_stopped(tmp_path)


async def test_processes_of_one_home_share_one_server(tmp_path: Path) -> None:
    async with share_in_another_process(tmp_path), EmbeddedPostgres(tmp_path):
        assert len(keepers_of(tmp_path)) == 1
        leader = leader_of(tmp_path)
        async with share_in_another_process(tmp_path):
            assert leader_of(tmp_path) == leader
    assert is_stopped(tmp_path)


async def test_two_homes_have_two_servers(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "one") as one, EmbeddedPostgres(tmp_path / "two") as two:
        await execute(one.url, "CREATE TABLE only_here ()")
        assert await execute(two.url, "SELECT to_regclass('only_here')") is None


async def test_the_server_outlives_the_killed_process_that_started_it(tmp_path: Path) -> None:
    async with share_in_another_process(tmp_path) as starter, EmbeddedPostgres(tmp_path) as server:
        connection = await asyncpg.connect(server.url)
        starter.kill()
        await starter.wait()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    assert is_stopped(tmp_path)


async def test_the_server_stops_by_itself_when_its_last_user_is_killed(tmp_path: Path) -> None:
    async with share_in_another_process(tmp_path) as user:
        user.kill()
        await user.wait()
        await until(lambda: is_stopped(tmp_path))


@pytest.mark.parametrize("name", ["home", "long-" * 20])
@pytest.mark.parametrize("victim", ["server", "keeper"])
async def test_a_killed_server_comes_back_at_its_address_for_those_that_use_it(
    tmp_path: Path, victim: str, name: str
) -> None:
    home = tmp_path / name
    async with EmbeddedPostgres(home) as server:
        address = server.url
        await execute(address, "CREATE TABLE kept AS SELECT 1 AS number")
        leader = leader_of(home)
        os.kill(leader if victim == "server" else keepers_of(home)[0].pid, signal.SIGKILL)
        # A server dies a moment after its keeper, and answers until then.
        await until(lambda: leader not in servers_in(Layout.under(home).data))
        await until_it_answers(address)
        assert await execute(address, "SELECT number FROM kept") == 1
        folder = Layout.under(home).socket_folder()
    assert is_stopped(home)
    assert not folder.exists()


async def test_what_was_committed_is_there_after_everything_was_killed(tmp_path: Path) -> None:
    async with share_in_another_process(tmp_path) as user:
        url = Layout.under(tmp_path).url()
        await execute(url, "CREATE TABLE kept AS SELECT 1 AS number")
        for process_id in (user.pid, keepers_of(tmp_path)[0].pid, leader_of(tmp_path)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        await user.wait()
        await until(lambda: is_stopped(tmp_path))
    assert (Layout.under(tmp_path).data / "postmaster.pid").exists()
    async with EmbeddedPostgres(tmp_path) as server:
        assert await execute(server.url, "SELECT number FROM kept") == 1


async def test_a_process_that_bears_the_old_servers_number_is_neither_in_the_way_nor_harmed(
    tmp_path: Path,
) -> None:
    async with EmbeddedPostgres(tmp_path):
        old = (Layout.under(tmp_path).data / "postmaster.pid").read_text()
    bystander = await asyncio.create_subprocess_exec("sleep", "300")
    try:
        stale = "\n".join([str(bystander.pid), *old.splitlines()[1:]])
        (Layout.under(tmp_path).data / "postmaster.pid").write_text(stale)
        async with EmbeddedPostgres(tmp_path) as server:
            assert await execute(server.url, "SELECT 1") == 1
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_server_that_was_left_running_is_ended(tmp_path: Path) -> None:
    layout = Layout.under(tmp_path)
    layout.root.mkdir(mode=0o700)
    launch = await choose_launch(layout.root)
    await make_cluster(layout, launch, locate_binaries())
    process = await start_server(layout, launch, locate_binaries())
    try:
        await until_ready(layout, process)
        await clear_leftovers(layout.data)
        assert not any(servers_in(layout.data))
        assert not (layout.data / "postmaster.pid").exists()
    finally:
        await stop_server(layout, process)


async def test_a_data_directory_half_made_is_made_anew(tmp_path: Path) -> None:
    unfinished = Layout.under(tmp_path).root / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(tmp_path) as server:
        assert await execute(server.url, "SELECT 1") == 1
    assert not unfinished.exists()


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path):
        pass
    (Layout.under(tmp_path).data / "PG_VERSION").write_text("17\n")
    with pytest.raises(ServerDidNotStart, match="initialized by PostgreSQL version 17"):
        await EmbeddedPostgres(tmp_path).start()
    await until(lambda: is_stopped(tmp_path))


async def test_a_start_that_takes_too_long_is_given_up_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ServerDidNotStart, match=r"within 0\.001 s"):
        await EmbeddedPostgres(tmp_path, start_limit_seconds=0.001).start()
    await until(lambda: is_stopped(tmp_path))


async def test_a_home_whose_path_is_too_long_for_a_socket_works_and_leaves_no_folder(tmp_path: Path) -> None:
    home = tmp_path / ("long-" * 20)
    async with EmbeddedPostgres(home) as server:
        folder = Layout.under(home).socket_folder()
        assert not folder.is_relative_to(home)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert await execute(server.url, "SELECT 1") == 1
    assert not folder.exists()


async def test_a_folder_of_the_socket_that_was_opened_to_others_is_not_used_again(tmp_path: Path) -> None:
    layout = Layout.under(tmp_path / ("long-" * 20))
    layout.root.mkdir(parents=True)
    private = layout.make_socket_folder()
    assert layout.make_socket_folder() == private
    private.chmod(0o755)
    another = layout.make_socket_folder()
    shutil.rmtree(private)
    assert another != private
    layout.remove_socket_folder()
    assert not another.exists()


async def test_the_current_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "__init__.py").write_text("raise RuntimeError('not the one')")
    monkeypatch.chdir(tmp_path)
    async with EmbeddedPostgres(Path("home")) as server:
        assert await execute(server.url, "SELECT 1") == 1


async def test_each_way_to_run_it_that_this_machine_has_works(tmp_path: Path) -> None:
    is_root = os.geteuid() == 0
    ways = [as_another_user(), in_a_namespace(tmp_path)] if is_root else [await choose_launch(tmp_path)]
    tried = 0
    for launch in [way for way in ways if way is not None and await way.works()]:
        layout = Layout.under(tmp_path)  # The same data, which changes its owner from way to way.
        layout.root.mkdir(mode=0o700, exist_ok=True)
        await make_cluster(layout, launch, locate_binaries())
        process = await start_server(layout, launch, locate_binaries())
        try:
            await until_ready(layout, process)
            assert await execute(layout.url(), "SELECT 1") == 1
        finally:
            await stop_server(layout, process)
        tried += 1
    assert tried > 0


def test_a_change_of_owner_that_is_stopped_in_its_midst_is_brought_to_its_end_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root gives to another user; whoever is not root has nobody but himself to give to."""
    for name in ("base/1", "base/2", "global"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    owner_id = UNPRIVILEGED_ID if os.geteuid() == 0 else os.geteuid()
    chown, given = os.chown, []

    def stopped(path: str, *arguments: int, **options: bool) -> None:
        if len(given) == 3:
            raise InterruptedError
        given.append(path)
        chown(path, *arguments, **options)

    monkeypatch.setattr(os, "chown", stopped)
    with contextlib.suppress(InterruptedError):
        give(tmp_path, owner_id)
    monkeypatch.setattr(os, "chown", chown)
    give(tmp_path, owner_id)
    assert {path.stat().st_uid for path in (tmp_path, *tmp_path.rglob("*"))} == {owner_id}


@pytest.mark.parametrize("seed", [1, 2])
async def test_users_that_come_and_go_and_die_in_any_order_find_a_server(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def come_and_go() -> None:
        for _ in range(4):
            async with share_in_another_process(tmp_path) as user:
                if chance.random() < 0.5:
                    user.kill()
                await asyncio.sleep(chance.random() / 10)
                if chance.random() < 0.2:
                    for keeper in keepers_of(tmp_path):
                        keeper.kill()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(come_and_go())
    await until(lambda: is_stopped(tmp_path))
    async with EmbeddedPostgres(tmp_path) as server:
        assert await execute(server.url, "SELECT 1") == 1
