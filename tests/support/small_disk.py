"""A disk that is small and really full when it is full: a file system in memory, and ballast to fill it with."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEGABYTE = 1024 * 1024


class SmallDisk:
    """The folder that it is mounted on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, leave_bytes: int = 0) -> None:
        """Write ballast until no more than this is left."""
        found = os.statvfs(self.folder)
        size = max(0, found.f_bavail * found.f_frsize - leave_bytes)
        with self._ballast.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), size)

    def make_room(self) -> None:
        """Throw the ballast away."""
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk for as long as the block lasts. Where we may not mount one, a process of ours has it to itself, and
    lends it by its view of the file system; what binds folders into sandboxes cannot take it from there.
    """
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "none", str(folder))
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run(("umount", "--lazy", str(folder)), check=True)
        return
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    holding = ("sh", "-c", '"$@" && echo mounted && exec sleep infinity', "-", *mount)
    with subprocess.Popen((*alone, *holding), stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"mounted\n", "no disk of our own is to be had"
            yield SmallDisk(Path(f"/proc/{holder.pid}/root{folder}"))
        finally:
            holder.kill()
