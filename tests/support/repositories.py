"""Real git repositories for tests, made by the plain `git` on the PATH."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from services.git.candidate import Candidate, CandidateIdentity, keep_candidate, make_candidate
from services.git.command import GitCommand
from services.git.fence import Claim
from services.git.integration import Integration
from services.git.mirror import Mirror, open_mirror
from services.git.preparation import prepare
from services.git.quarantine import keep_objects, open_quarantine
from services.git.reference_names import candidate_reference

ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "User",
    "GIT_AUTHOR_EMAIL": "user@localhost",
    "GIT_COMMITTER_NAME": "User",
    "GIT_COMMITTER_EMAIL": "user@localhost",
}
FILES = {
    "README.md": "# Shop\n",
    ".gitignore": "build/\n*.log\n",
    "src/cart.py": "def total(prices):\n    return sum(prices)\n",
    "src/stock.py": "".join(f"line {number}\n" for number in range(30)),
}


def git(folder: Path, *arguments: str) -> str:
    """Run the user's git in a folder; returns its output without the last newline."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, timeout=60
    )
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, with their folders."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, files: Mapping[str, str | bytes], message: str = "A change") -> str:
    """Write files and commit everything; returns the commit."""
    write(folder, files)
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, files: Mapping[str, str | bytes] = FILES) -> Path:
    """A repository with one commit on `main`."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, files, "The first commit")
    return folder


def identity(run_id: str = "shop-1", phase_id: str = "P1", **changes: object) -> CandidateIdentity:
    """The identity of a candidate, the same every time."""
    values: dict[str, object] = {
        "run_id": run_id,
        "phase_id": phase_id,
        "attempt": 1,
        "event_id": "0190-event",
        "patch_digest": "sha256:" + "0" * 64,
        "recorded_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "subject": "Total the cart",
    }
    return CandidateIdentity(**{**values, **changes})


@dataclass(frozen=True, slots=True)
class Bench:
    """A target repository and a mirror of it."""

    repository: Path
    mirror: Mirror
    base: str

    async def candidate(self, patch: bytes, parent: str | None = None, **changes: object) -> Candidate:
        """Make a candidate and keep it, as the applier does."""
        made_by = identity(**changes)
        async with open_quarantine(self.mirror) as quarantine:
            made = await make_candidate(quarantine, parent or self.base, [patch], made_by)
            assert isinstance(made, Candidate), made
            await keep_objects(quarantine, made.commit)
        reference = candidate_reference(made_by.run_id, made_by.phase_id, "request-1")
        await keep_candidate(self.mirror, reference, made.commit)
        return made

    def order(
        self,
        commit: str,
        head: str | None = None,
        claim: Claim | None = None,
        run_id: str = "shop-1",
        phase_id: str = "P1",
    ) -> Integration:
        """An order to integrate a commit."""
        return Integration(run_id, "T1", phase_id, commit, head, claim or Claim("claim-1", "request-1"))


async def make_bench(root: Path, address: str | None = None, name: str = "repository") -> Bench:
    """A fresh repository under `root` with a mirror of it, prepared."""
    repository = root / name
    if not repository.exists():
        make_repository(repository)
    mirror = await open_mirror(GitCommand(), root / "mirrors", address or str(repository))
    return Bench(repository, mirror, (await prepare(mirror)).base_commit)


def patch_between(folder: Path, old: str, new: str) -> bytes:
    """The patch from one commit of a repository to another."""
    done = subprocess.run(
        ["git", "diff", "--binary", "--full-index", "--no-renames", old, new],
        cwd=folder,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return done.stdout


def new_file_patch(name: str, content: str) -> bytes:
    """A patch that adds a small text file."""
    lines = content.splitlines()
    body = "".join(f"+{line}\n" for line in lines)
    head = f"diff --git a/{name} b/{name}\nnew file mode 100644\n--- /dev/null\n+++ b/{name}\n"
    return f"{head}@@ -0,0 +1,{len(lines)} @@\n{body}".encode()


async def added(bench: Bench, name: str = "a", parent: str | None = None, **changes: object) -> Candidate:
    """A candidate that adds a file of this name."""
    return await bench.candidate(new_file_patch(name, f"{name}\n"), parent, **changes)
