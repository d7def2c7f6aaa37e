"""Binary patches: what a few bytes would unpack to is known before git is given them."""

import random
import zlib
from base64 import b85encode
from hashlib import sha1
from pathlib import Path

import pytest

from services.git.applying import Conflict
from services.git.candidate import Candidate, NoChange, Unrepresentable, make_candidate
from services.git.failures import PatchTooLarge
from services.git.quarantine import open_quarantine
from services.git.unpacking import unpacked_bytes
from support.repositories import Bench, commit, identity, make_bench, make_repository, patch_between

BLOCK = bytes(range(256)) * 256
NOTHING = b"\0\0\0\xff\xff"
"""A block of a zlib stream that holds nothing."""


async def made(bench: Bench, patch: bytes) -> Candidate | Conflict | NoChange | Unrepresentable:
    async with open_quarantine(bench.mirror) as quarantine:
        return await make_candidate(quarantine, bench.base, [patch], identity())


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    make_repository(tmp_path / "repository", {"a.bin": BLOCK})
    return await make_bench(tmp_path)


@pytest.mark.parametrize("size", ["4000000000", "4000000000 ", "4000000000\t", " +4000000000x"])
async def test_a_patch_that_unpacks_to_gigabytes_is_refused(bench: Bench, size: str) -> None:
    patch = f"diff --git a/a b/a\nnew file mode 100644\nGIT binary patch\nliteral {size}\nzc\n"
    with pytest.raises(PatchTooLarge):
        await made(bench, patch.encode())


@pytest.mark.parametrize("kind", [b"literal", b"delta"])
def test_a_size_of_thousands_of_digits_is_refused(kind: bytes) -> None:
    with pytest.raises(PatchTooLarge):
        unpacked_bytes(kind + b" " + b"9" * 5000 + b"\nzc\n")
    assert unpacked_bytes(b"literal " + b"0" * 5000 + b"7\nzc\n") == 7


@pytest.mark.parametrize("padding", [0, 60])
async def test_a_small_delta_counts_as_what_comes_of_it(bench: Bench, padding: int) -> None:
    patch = delta_patch(2000, padding)
    assert len(patch) < 1000
    with pytest.raises(PatchTooLarge, match=str(2000 * len(BLOCK) + len(delta(2000)))):
        await made(bench, patch)
    assert isinstance(await made(bench, delta_patch(3, padding)), Candidate)


async def test_a_delta_that_does_not_say_what_comes_of_it_is_refused(bench: Bench) -> None:
    whole = delta_patch(3)
    head, start, lines = whole.partition(b"\ndelta ")
    size, _, packed = lines.partition(b"\n")
    for broken in (b"\n", b"~" * len(packed), packed[:7] + b"\n", b"z" + packed[1:].replace(b"\n", b"'\n")):
        with pytest.raises(PatchTooLarge):
            await made(bench, head + start + size + b"\n" + broken)


async def test_a_changed_binary_file_of_which_git_writes_a_delta_still_lands(tmp_path: Path) -> None:
    old = random.Random(7).randbytes(200_000)
    repository = make_repository(tmp_path / "repository", {"a.bin": old})
    bench = await make_bench(tmp_path)
    changed = commit(repository, {"a.bin": old[:100_000] + b"new" + old[100_000:]})
    patch = patch_between(repository, bench.base, changed)
    assert patch.count(b"\ndelta ") == 2
    assert 400_000 < unpacked_bytes(patch) < 401_000
    assert isinstance(await made(bench, patch), Candidate)


def delta_patch(copies: int, padding: int = 0) -> bytes:
    """A patch that makes a.bin so many times as long, with blocks of nothing before what it says."""
    packed = zlib.compress(delta(copies), 9)
    packed = packed[:2] + NOTHING * padding + packed[2:]
    parts = [packed[at : at + 52] for at in range(0, len(packed), 52)]
    lines = [bytes([len(p) + (64 if len(p) <= 26 else 70)]) + b85encode(p, pad=True) + b"\n" for p in parts]
    ids = blob_id(BLOCK) + b".." + blob_id(BLOCK * copies)
    head = b"diff --git a/a.bin b/a.bin\nindex " + ids + b" 100644\nGIT binary patch\n"
    return head + b"delta %d\n" % len(delta(copies)) + b"".join(lines) + b"\n"


def delta(copies: int) -> bytes:
    """The size of the old, the size of the new, and each byte more copies the first 64 KiB of the old."""
    return number(len(BLOCK)) + number(len(BLOCK) * copies) + b"\x80" * copies


def number(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(high) if high else bytes([low])


def blob_id(content: bytes) -> bytes:
    """The name that git gives to a file's content."""
    return sha1(b"blob %d\0" % len(content) + content).hexdigest().encode()
