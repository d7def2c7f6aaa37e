"""A target on this machine: its objects and refs are written directly, its work tree never."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.git.command import GitCommand, Place
from services.git.fence import Fence, Ledger
from services.git.mirror import Mirror
from services.git.objects import blob_content
from services.git.reference_writing import write_references
from services.git.source import LocalRepository
from services.git.target import NOTHING, Move, wanted


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A repository in a folder, bare or with a work tree."""

    mirror: Mirror
    repository: LocalRepository

    @property
    def git(self) -> GitCommand:
        """The git to call."""
        return self.mirror.git

    @property
    def place(self) -> Place:
        """Where it works."""
        return self.repository.place

    async def references(self, *names: str, below: tuple[str, ...] = ()) -> Mapping[str, str]:
        """The values of those of the refs that exist, and of all below."""
        output = await self.git.run(
            self.place, "for-each-ref", "--format=%(objectname) %(refname)", *names, *below
        )
        pairs = (line.split(" ", 1) for line in output.stdout.decode("utf-8", "replace").splitlines())
        return {name: value for value, name in pairs if wanted(name, names, below)}

    async def read_blob(self, object_id: str, reference: str) -> bytes | None:
        """The content of a blob, if it is there."""
        return await blob_content(self, object_id)

    async def send_objects(self, commit: str, known: str | None) -> None:
        """Pack what the target lacks, and unpack it there: no ref is needed for that, and none remains."""
        excluded = [known] if known else await self._known_bases(commit)
        revisions = f"{commit}\n" + "".join(f"^{name}\n" for name in excluded)
        packed = await self.git.run(
            self.mirror.place,
            "pack-objects",
            "--quiet",
            "--revs",
            "--stdout",
            "--thin",
            "--delta-base-offset",
            stdin=revisions.encode(),
        )
        await self.git.run(self.place, "unpack-objects", "-q", "--strict", stdin=packed.stdout)

    async def _known_bases(self, commit: str) -> list[str]:
        """Bases of this commit that came from the target, and still are there.

        Only what a ref held there will do: objects that an unpacking left half done are no proof
        that those they refer to are there as well.
        """
        listed = await self.git.run(
            self.mirror.place, "for-each-ref", "--format=%(objectname)", f"--merged={commit}", "refs/bases"
        )
        checked = await self.git.run(
            self.place, "cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=listed.stdout
        )
        lines = (line.split(" ") for line in checked.stdout.decode().splitlines())
        return [name for name, kind in lines if kind == "commit"]

    async def set_fence(self, reference: str, ledger: Ledger, old: str | None) -> Fence:
        """Write the ledger as a blob, and move the fence to it."""
        written = await self.git.run(self.place, "hash-object", "-w", "--stdin", stdin=ledger.blob())
        value = written.stdout.decode().strip()
        await self._write(f"update {reference} {value} {old or NOTHING}\n")
        return Fence(value, ledger)

    async def move(self, move: Move, reference: str, fence: Fence) -> Fence:
        """Move one ref; verifying the fence locks it, so no other claim can get in between."""
        await self._write(
            f"verify {reference} {fence.value}\nupdate {move.reference} {move.new} {move.old or NOTHING}\n"
        )
        return fence

    async def _write(self, commands: str) -> None:
        await write_references(self.mirror, self.place, f"start\n{commands}prepare\ncommit\n")
