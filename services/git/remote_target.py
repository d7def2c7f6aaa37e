"""A target behind a URL: everything goes through `push`, compared and swapped at the other side.

The other side compares only refs that a push moves. So each push moves the fence, too, to a blob
that names the next step of the same claim: whoever was replaced is refused there, not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.git.command import Place
from services.git.fence import Claim
from services.git.mirror import Mirror
from services.git.source import RemoteRepository
from services.git.target import Move


@dataclass(frozen=True, slots=True)
class RemoteTarget:
    """A repository behind a URL."""

    mirror: Mirror
    repository: RemoteRepository

    async def references(self, *names: str) -> Mapping[str, str]:
        """The values of those of the refs that exist."""
        output = await self.mirror.git.run(Place(), "ls-remote", "--refs", self.repository.address, *names)
        pairs = (line.split("\t", 1) for line in output.stdout.decode("utf-8", "replace").splitlines())
        return {name: value for value, name in pairs if name in names}

    async def read_blob(self, object_id: str, reference: str) -> bytes | None:
        """The content of a blob; fetched when another machine has written it."""
        for fetched in (False, True):
            if fetched:
                await self._fetch(reference)
            output = await self.mirror.git.run(
                self.mirror.place, "cat-file", "blob", object_id, accept=(0, 1, 128)
            )
            if output.exit_code == 0:
                return output.stdout
        return None

    async def send_objects(self, commit: str, known: str | None) -> None:
        """Nothing: a push brings the objects along, quarantined there until its refs are accepted."""

    async def set_fence(self, fence: str, claim: Claim, old: str | None) -> str:
        """Write the claim as a blob, and push it to the fence."""
        value = await self._blob(claim, "claimed")
        await self.push((Move(fence, old, value, "claimed"),))
        return value

    async def move(self, move: Move, fence: str, fence_value: str, claim: Claim) -> str:
        """Push one ref and the fence's next step, both or neither."""
        value = await self._blob(claim, move.step)
        await self.push((move, Move(fence, fence_value, value, move.step)))
        return value

    async def _blob(self, claim: Claim, step: str) -> str:
        written = await self.mirror.git.run(
            self.mirror.place, "hash-object", "-w", "--stdin", stdin=claim.blob(step)
        )
        return written.stdout.decode().strip()

    async def _fetch(self, reference: str) -> None:
        await self.mirror.git.run(
            self.mirror.place,
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            self.repository.address,
            reference,
            accept=(0, 1, 128),
        )

    async def push(self, moves: tuple[Move, ...]) -> None:
        """Move these refs, all or none, each only if it still is where it was; raises GitFailed."""
        changing = [move for move in moves if move.old != move.new]
        await self.mirror.git.run(
            self.mirror.place,
            "push",
            "--quiet",
            "--atomic",
            "--no-verify",
            "--no-follow-tags",
            "--recurse-submodules=no",
            *(f"--force-with-lease={move.reference}:{move.old or ''}" for move in changing),
            self.repository.address,
            *(f"{move.new}:{move.reference}" for move in changing),
            limit_seconds=self.mirror.git.settings.fetch_limit_seconds,
        )
