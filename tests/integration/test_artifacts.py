import asyncio
import hashlib
import os
import secrets
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from services.artifact_files import folder_of
from services.artifacts import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactNameInvalid,
    ArtifactStore,
    FileArtifacts,
    open_artifacts,
)


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("/a/folder/", "/a/folder"),
        ("file:///a/folder", "/a/folder"),
        ("file:/a/folder", "/a/folder"),
        ("local:///a/folder", "/a/folder"),
        ("/a://folder", "/a:/folder"),
        ("~/store", str(Path.home() / "store")),
        ("~nobody-of-that-name/store", str(Path.cwd() / "~nobody-of-that-name" / "store")),
        ("s3://bucket/prefix", None),
        ("S3://bucket", None),
        ("simplecache::memory://store", None),
    ],
)
def test_a_folder_of_this_machine_is_told_from_a_store_elsewhere(url: str, folder: str | None):
    assert folder_of(url) == (None if folder is None else Path(folder))


@pytest.fixture(params=["folder", "file-url", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    urls = {
        "folder": str(tmp_path / "artifacts"),
        "file-url": f"file://{tmp_path}/artifacts",
        "memory": f"memory://{secrets.token_hex(8)}/artifacts",
    }
    return open_artifacts(urls[request.param])


async def test_a_blob_is_found_by_the_hash_of_its_content(store: ArtifactStore):
    reference = await store.put(b"a patch")
    assert reference.digest == "sha256:" + hashlib.sha256(b"a patch").hexdigest()
    assert reference.size_bytes == 7
    assert await store.get(reference.digest) == b"a patch"
    assert await store.put(b"a patch") == reference
    assert await store.get((await store.put(b"")).digest) == b""


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha256:../../etc/passwd", "", "md5:1"])
async def test_a_missing_blob_is_an_error_that_names_it(store: ArtifactStore, digest: str):
    with pytest.raises(ArtifactMissing) as caught:
        await store.get(digest)
    assert caught.value.digest == digest


async def test_a_spoilt_blob_is_noticed_and_mended_by_putting_it_again(tmp_path: Path):
    store = open_artifacts(str(tmp_path))
    reference = await store.put(b"a patch")
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    path.write_bytes(b"a petch")
    with pytest.raises(ArtifactCorrupt):
        await store.get(reference.digest)
    await store.put(b"a patch")
    assert await store.get(reference.digest) == b"a patch"


async def test_a_name_is_created_once_and_never_overwritten(store: ArtifactStore):
    assert await store.create("results/r-1", b"first")
    assert not await store.create("results/r-1", b"second")
    assert await store.read("results/r-1") == b"first"
    assert await store.read("results/r-2") is None


async def test_of_twenty_that_create_one_name_exactly_one_wins(store: ArtifactStore):
    values = [str(number).encode() for number in range(20)]
    won = await asyncio.gather(*(store.create("results/race", value) for value in values))
    assert won.count(True) == 1
    assert await store.read("results/race") == values[won.index(True)]


async def test_a_value_can_be_replaced_listed_and_deleted(store: ArtifactStore):
    for name in ("snapshots/p1/10", "snapshots/p1/9", "snapshots/p10/1", "other"):
        await store.replace(name, b"old")
        await store.replace(name, b"new")
    assert await store.read("other") == b"new"
    assert await store.list() == ["other", "snapshots/p1/10", "snapshots/p1/9", "snapshots/p10/1"]
    assert await store.list("snapshots/p1/") == ["snapshots/p1/10", "snapshots/p1/9"]
    assert await store.list("snapshots/p1") == ["snapshots/p1/10", "snapshots/p1/9", "snapshots/p10/1"]
    assert await store.list("nothing/here") == []
    await store.delete("other")
    await store.delete("other")
    assert await store.read("other") is None


@pytest.mark.parametrize("name", ["..", "../../x", ".hidden/./y", "ü %2E id", "a:b@c=d", "x" * 128])
async def test_a_name_may_hold_anything_and_stays_within_the_store(tmp_path: Path, name: str):
    store = open_artifacts(str(tmp_path / "inner" / "store"))
    assert await store.create(name, b"value")
    assert await store.list() == [name]
    assert await store.read(name) == b"value"
    assert os.listdir(tmp_path) == ["inner"]
    assert os.listdir(tmp_path / "inner") == ["store"]


@pytest.mark.parametrize("name", ["", "/", "a//b", "a/", "ü" * 100])
async def test_a_name_with_an_empty_or_endless_part_is_refused(store: ArtifactStore, name: str):
    with pytest.raises(ArtifactNameInvalid):
        await store.create(name, b"value")


WRITER = """
import asyncio, sys
from services.artifacts import open_artifacts
async def main():
    store = open_artifacts(sys.argv[1])
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        await store.put(bytes([number % 251]) * 300_000 + str(number).encode())
        await store.replace("snapshot", bytes([number % 251]) * 300_000)
        await store.create(f"result/{number}", bytes([number % 251]) * 300_000)
asyncio.run(main())
"""


async def test_a_killed_writer_leaves_no_half_blob_and_no_half_value(tmp_path: Path):
    store = open_artifacts(str(tmp_path))
    for round_number in range(4):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        await asyncio.wait_for(writer.stdout.readline(), 30)
        # Another number of values each time, so that the kill falls on another moment.
        async with asyncio.timeout(30):
            while len(await store.list("result/")) < 2 + 3 * round_number:
                await asyncio.sleep(0.003)
        writer.send_signal(signal.SIGKILL)
        await writer.wait()
    blobs = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert blobs
    for path in blobs:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name + path.name
    for name in await store.list():
        value = await store.read(name)
        assert value is not None
        assert len(value) == 300_000
        assert len(set(value)) == 1


async def test_what_is_listed_with_its_time_can_be_dropped_as_long_as_it_is_the_same_file(store: ArtifactStore):
    assert isinstance(store, FileArtifacts)
    reference = await store.put(b"a patch")
    await store.create("results/builder/shop/r-1", b"answer")
    [listed] = await store.blobs()
    [named] = await store.ages("results/")
    assert (listed.digest, listed.size_bytes, named.name) == (reference.digest, 7, "results/builder/shop/r-1")
    assert abs(listed.modified - time.time()) < 60
    assert abs(named.modified - time.time()) < 60
    assert await store.is_whole(listed)
    assert not await store.drop(replace(listed, modified=listed.modified - 60)), "it was written anew since"
    assert await store.drop(listed)
    assert not await store.drop(listed), "it is gone"
    assert await store.blobs() == []
    assert await store.ages("nothing/") == []
