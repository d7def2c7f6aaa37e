"""Clones and patches where something happens in the very moment in which they are made."""

import asyncio
import os
import struct
import threading
from hashlib import sha1
from pathlib import Path

from services.git import fetching
from services.git.patch import take_patch
from services.git.workspace import clone_for_agent
from support.repositories import commit, make_bench, make_repository


async def test_a_clone_is_made_while_others_clear_up_after_fetches(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository")
    for number in range(40):
        commit(repository, {f"f{number}": os.urandom(2000).hex()})
    bench = await make_bench(tmp_path)
    ended = threading.Event()

    def clear() -> None:
        while not ended.is_set():
            fetching._clear(bench.mirror.folder, fetching.PACKS)

    clearing = asyncio.create_task(asyncio.to_thread(clear))
    try:
        for number in range(8):
            await clone_for_agent(bench.mirror, bench.base, tmp_path / f"w{number}")
    finally:
        ended.set()
        await clearing


async def test_what_changed_in_the_moment_of_its_checkout_is_not_missed(tmp_path: Path) -> None:
    """Then size and times are what they were; git looks into the file, by the time of its index."""
    bench = await make_bench(tmp_path)
    workspace = await clone_for_agent(bench.mirror, bench.base, tmp_path / "workspace")
    file = workspace.tree / "README.md"
    before = file.read_bytes()
    file.write_bytes(before.swapcase())
    assert file.read_bytes() != before
    long_ago = 1_700_000_000 * 10**9
    os.utime(file, ns=(long_ago, long_ago))
    seem_unchanged(workspace.index, file)
    os.utime(workspace.index, ns=(long_ago, long_ago))
    assert [changed.path for changed in (await take_patch(workspace)).files] == [b"README.md"]


def seem_unchanged(index: Path, file: Path) -> None:
    """Give the file's entry of an index (version 2) the file's own times and number."""
    data = bytearray(index.read_bytes()[:-20])
    entry = data.index(file.name.encode() + b"\0") - 62
    status = file.stat()
    times = [part for ns in (status.st_ctime_ns, status.st_mtime_ns) for part in divmod(ns, 10**9)]
    numbers = [number & 0xFFFFFFFF for number in (*times, status.st_dev, status.st_ino)]
    data[entry : entry + 24] = struct.pack(">6I", *numbers)
    index.write_bytes(data + sha1(data).digest())
