"""A target behind a URL: everything goes through `push`, compared and swapped at the other side.

The other side compares only refs that a push moves. So each push moves the fence as well, to the
ledger's next turn: whoever was replaced is refused there, not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from events.failpoints import failpoint
from services.git.command import Place
from services.git.fence import Fence, Ledger
from services.git.fetching import fetching
from services.git.mirror import Mirror, in_use
from services.git.objects import blob_content
from services.git.source import RemoteRepository
from services.git.target import Move, wanted

_PEELED = "^{}"
"""What ends the line of an annotated tag that says what the tag is of."""


@dataclass(frozen=True, slots=True)
class RemoteTarget:
    """A repository behind a URL."""

    mirror: Mirror
    repository: RemoteRepository

    async def references(self, *names: str, below: tuple[str, ...] = ()) -> Mapping[str, str]:
        """The values of those of the refs that exist, and of all below."""
        patterns = (*names, *(f"{name}/*" for name in below))
        # With --refs it would leave out names of two parts, of which `refs/autopack` would be in our way.
        output = await self.mirror.git.run(Place(), "ls-remote", self.repository.address, *patterns)
        pairs = (line.split("\t", 1) for line in output.stdout.decode("utf-8", "replace").splitlines())
        return {name: value for value, name in pairs if wanted(name, names, below) and not name.endswith(_PEELED)}

    async def read_blob(self, object_id: str, reference: str) -> bytes | None:
        """The content of a blob; fetched when another machine has written it. None when the ref has moved on."""
        found = await blob_content(self.mirror, object_id)
        if found is None:
            await self._fetch(reference)
            found = await blob_content(self.mirror, object_id)
        return found

    async def send_objects(self, commit: str, known: str | None) -> None:
        """Nothing: a push brings the objects along, quarantined there until its refs are accepted."""

    async def set_fence(self, reference: str, ledger: Ledger, old: str | None) -> Fence:
        """Write the ledger as a blob, and push it to the fence."""
        fence = await self._written(ledger)
        await self.push((Move(reference, old, fence.value),))
        return fence

    async def move(self, move: Move, reference: str, fence: Fence) -> Fence:
        """Push one ref and the fence's next turn, both or neither."""
        following = await self._written(fence.ledger.next_turn())
        await self.push((move, Move(reference, fence.value, following.value)))
        return following

    async def _written(self, ledger: Ledger) -> Fence:
        written = await self.mirror.git.run(self.mirror.place, "hash-object", "-w", "--stdin", stdin=ledger.blob())
        return Fence(written.stdout.decode().strip(), ledger)

    async def _fetch(self, reference: str) -> None:
        async with in_use(self.mirror), fetching(self.mirror.folder) as descriptor:
            await self.mirror.git.run(
                self.mirror.place,
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                self.repository.address,
                reference,
                kept_descriptors=(descriptor,),
            )

    async def push(self, moves: tuple[Move, ...]) -> None:
        """Move these refs, all or none, each only if it still is where it was; raises GitFailed."""
        await self.mirror.git.run(
            self.mirror.place,
            "push",
            "--quiet",
            "--atomic",
            "--no-verify",
            "--no-follow-tags",
            "--recurse-submodules=no",
            *(f"--force-with-lease={move.reference}:{move.old or ''}" for move in moves),
            self.repository.address,
            *(f"{move.new}:{move.reference}" for move in moves),
            limit_seconds=self.mirror.git.settings.fetch_limit_seconds,
        )
        failpoint("pushed")
