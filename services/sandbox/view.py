"""What a job sees where: its work folder, and what is lent to it, on this machine and in the sandbox."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.sandbox.installation import find_executable, interpreters_behind, needed_paths
from services.sandbox.job import Job
from services.sandbox.specification import Mount


@dataclass(frozen=True, slots=True)
class View:
    """The work folder shows at `place`, the `lent` at absolute places."""

    work_folder: Path
    place: Path
    lent: tuple[Mount, ...]

    def on_machine(self, path: Path) -> Path:
        """Where on this machine lies what the job sees at `path`."""
        mounts = sorted(self.lent, key=lambda mount: -len(mount.destination.parts))
        for mount in (*mounts, Mount(self.work_folder, self.place)):
            if path.is_relative_to(mount.destination):
                return mount.source / path.relative_to(mount.destination)
        return path


@dataclass(frozen=True, slots=True)
class Needs:
    """The executable as the job sees it, and what of this machine has to be visible for it."""

    executable: Path
    paths: tuple[Path, ...]


def view_of(job: Job, lent_within: Sequence[Mount]) -> View:
    """The view of a job, of whose relative mounts these can be shown."""
    place = job.shown_at or job.work_folder
    within = [Mount(mount.source, place / mount.destination) for mount in lent_within]
    elsewhere = [mount for mount in job.readonly if mount.destination.is_absolute()]
    return View(job.work_folder, place, (*within, *elsewhere))


def needs_of(job: Job, view: View, search_path: str) -> Needs | None:
    """Find the executable and what it needs; None where there is no such executable. Blocking."""
    name, arguments = job.argv[0], job.argv[1:]
    lent = [path for mount in view.lent for path in interpreters_behind(mount.source)]
    seen = Path(os.path.normpath(view.place / name))
    if "/" in name and seen.is_relative_to(view.place):
        # An agent may have written it: nothing of the machine is shown because it says so.
        found = shutil.which(view.on_machine(seen))
        return Needs(seen, (*needed_paths(None, arguments, search_path), *lent)) if found else None
    if "/" in name and not name.startswith("/"):
        return None
    executable = find_executable(name, search_path, view.place)
    if executable is None:
        return None
    return Needs(executable, (*needed_paths(executable, arguments, search_path), *lent))
