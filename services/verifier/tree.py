"""The candidate's files as checks get them: checked out anew for every try."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services.git.inspection import check_out_tree
from services.git.mirror import Mirror
from services.locks import folder_held
from services.processes.finishing import in_any_case
from services.sandbox import remove_or_leave


@dataclass(slots=True)
class CandidateTree:
    """The tree of a commit in `folder`. Whoever worked there may have changed any of it: it is given once."""

    mirror: Mirror
    commit: str
    folder: Path
    _given: bool = True
    _holding: ExitStack = field(default_factory=ExitStack)

    async def check_out(self) -> Path:
        """The folder with the files of the commit, and nothing else in it.

        Raises GitFailure, and FileExistsError where an earlier one could not be removed.
        """
        await self.remove()
        await in_any_case(asyncio.to_thread(self._holding.enter_context, folder_held(self.folder)))
        await check_out_tree(self.mirror, self.commit, self.folder)
        self._given = False
        return self.folder

    async def give(self) -> Path:
        """The same for somebody who may write to it: checked out again where it was given before."""
        if self._given:
            await self.check_out()
        self._given = True
        return self.folder

    async def remove(self) -> None:
        """Remove the folder, whatever was done to it; where that fails it is left to the collector."""
        try:
            await remove_or_leave(self.folder)
        finally:
            self._holding.close()
