"""What does not apply is a conflict. What hinders git from applying it is none, and another patch no cure."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from services.git.applying import Applied, apply_patch
from services.git.command import GitCommand, GitSettings
from services.git.failures import GitFailed
from services.git.mirror import Mirror
from services.git.quarantine import Quarantine, open_quarantine
from support.repositories import Bench, git, make_bench, new_file_patch
from support.small_disk import small_disk

FULL = os.strerror(errno.ENOSPC)
NEW = "new file mode 100644\n--- /dev/null\n+++"
HUNK = "@@ -0,0 +1 @@\n+x\n"
README = "diff --git a/README.md b/README.md\n"
BROKEN = {
    "a hunk without a header": "diff --git a/a b/a\n@@ -1 +1 @@\n",
    "a hunk that breaks off": f"{README}--- a/README.md\n+++ b/README.md\n@@ -1 +1,2 @@\n # Shop\n",
    "a number too large": f"{README}--- a/README.md\n+++ b/README.md\n@@ -{'9' * 20} +1 @@\n # Shop\n",
    "no mode": f"diff --git a/x b/x\nnew file mode 999999\n--- /dev/null\n+++ b/x\n{HUNK}",
    "no binary": "diff --git a/x b/x\nnew file mode 100644\nindex 0..1\nGIT binary patch\nliteral 5\nzzzzz\n\n",
    "nothing but a header": f"{README}index 1..2\n",
    "a deletion that leaves something": f"{README}deleted file mode 100644\n--- a/README.md\n"
    f"+++ /dev/null\n@@ -1 +1 @@\n-# Shop\n+x\n",
    "no submodule": f"diff --git a/q b/q\nnew file mode 160000\n--- /dev/null\n+++ b/q\n{HUNK}",
    "a file below a file": f"diff --git a/README.md/x b/README.md/x\n{NEW} b/README.md/x\n{HUNK}",
    "a file for a folder": f"diff --git a/src b/src\n{NEW} b/src\n{HUNK}",
    "one that shows what a full disk does": f"diff --git a/x b/x\nnew file mode 9\nfatal: x: {FULL}\n" * 3000,
}


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    return await make_bench(tmp_path)


def failing(mirror: Mirror, folder: Path, stderr: str, exit_code: int = 128) -> Mirror:
    """The mirror with a git that can all but apply: it says this instead."""
    (folder / "said").write_text(stderr)
    program = folder / "failing-git"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in\n*" apply --cached "*) cat "{folder}/said" >&2; exit {exit_code};;\nesac\n'
        f'exec "{shutil.which("git")}" "$@"\n'
    )
    program.chmod(0o755)
    return replace(mirror, git=GitCommand(GitSettings(executable=str(program))))


async def read_parent(quarantine: Quarantine, parent: str) -> None:
    await quarantine.git.run(quarantine.place, "read-tree", parent, durable=False)


async def applied(mirror: Mirror, parent: str, patch: bytes) -> Applied:
    async with open_quarantine(mirror) as quarantine:
        await read_parent(quarantine, parent)
        return await apply_patch(quarantine, patch)


@pytest.mark.parametrize("patch", BROKEN.values(), ids=BROKEN)
async def test_a_patch_that_git_cannot_make_anything_of_is_a_conflict(bench: Bench, patch: str) -> None:
    assert (await applied(bench.mirror, bench.base, patch.encode())).conflict is not None


async def test_a_patch_on_what_is_no_file_is_a_conflict(bench: Bench) -> None:
    lines = git(bench.repository, "cat-file", "commit", bench.base).splitlines()
    body = "".join(f" {line}\n" for line in lines)
    head = f"{README}index {bench.base}..{'1' * 40} 100644\n--- a/README.md\n+++ b/README.md\n"
    patch = f"{head}@@ -1,{len(lines)} +1,{len(lines) + 1} @@\n{body}+more\n"
    conflict = (await applied(bench.mirror, bench.base, patch.encode())).conflict
    assert conflict is not None
    assert "unable to read blob object" in conflict.detail


async def test_a_name_that_reads_like_a_full_disk_is_refused_like_any_other(bench: Bench) -> None:
    name = f"a\\nfatal: b: {FULL}\\n/.git/x"
    patch = f'diff --git "a/{name}" "b/{name}"\n{NEW} "b/{name}"\n{HUNK}'
    outcome = await applied(bench.mirror, bench.base, patch.encode())
    assert outcome == Applied((name.replace("\\n", "\n").encode(),))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (f"fatal: unable to write loose object file: {FULL}\n", errno.ENOSPC),
        (f"error: unable to create temporary file: {FULL}\nerror: unable to create backing store\n", errno.ENOSPC),
        ("fatal: sha1 file '/x/index.lock' write error. Out of diskspace\n", errno.ENOSPC),
        (f"fatal: unable to write loose object file: {os.strerror(errno.EDQUOT)}\n", errno.EDQUOT),
        (
            f"error: unable to create temporary file: {FULL}\nfatal: unable to read blob object {'1' * 40}\n",
            errno.ENOSPC,
        ),
        (
            f"error: patch failed: a:1\nFalling back to direct application...\nfatal: write error: {FULL}\n",
            errno.ENOSPC,
        ),
    ],
)
async def test_a_full_disk_is_no_conflict(bench: Bench, tmp_path: Path, said: str, code: int) -> None:
    with pytest.raises(OSError, match="git apply: ") as raised:
        await applied(failing(bench.mirror, tmp_path, said), bench.base, new_file_patch("a", "1\n"))
    assert raised.value.errno == code


@pytest.mark.parametrize(
    "said",
    [
        "fatal: Unable to create '/x/index.lock': File exists.\n",
        "fatal: /x/index: index file open failed: Too many open files\n",
        "error: insufficient permission for adding an object to repository database /x\n",
        f"error: insufficient permission for adding an object to repository database '/{FULL}/x'\n",
        "fatal: Out of memory, malloc failed\n",
        "",
    ],
)
async def test_what_else_hinders_git_is_none_either(bench: Bench, tmp_path: Path, said: str) -> None:
    with pytest.raises(GitFailed):
        await applied(failing(bench.mirror, tmp_path, said), bench.base, new_file_patch("a", "1\n"))


@pytest.mark.parametrize("content", ["# Shop\n", "of its own\n"], ids=["for the index", "for an object"])
async def test_a_disk_that_is_really_full_is_said_to_be(tmp_path: Path, content: str) -> None:
    with small_disk(tmp_path / "small", 8) as disk:
        bench = await make_bench(disk.folder)
        async with open_quarantine(bench.mirror) as quarantine:
            await read_parent(quarantine, bench.base)
            disk.fill()
            with pytest.raises(OSError, match="git apply: ") as raised:
                await apply_patch(quarantine, new_file_patch("new", content))
            assert raised.value.errno == errno.ENOSPC
            disk.make_room()
            assert await apply_patch(quarantine, new_file_patch("new", content)) == Applied()
