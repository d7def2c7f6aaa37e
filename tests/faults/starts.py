"""The starts of agents: told through a pipe, written down as a file each."""

import asyncio
import os
from pathlib import Path
from uuid import uuid4


class AgentStarts:
    """A pipe that agents write a line to, open at this end, so that none of them waits for a reader."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "starts"
        self.pipe = folder / "agents.pipe"
        self._descriptor = -1
        self._begun = b""

    def open(self) -> None:
        """Make pipe and folder, and write down what comes, as it comes."""
        self.folder.mkdir()
        os.mkfifo(self.pipe)
        self.pipe.chmod(0o666)  # in a sandbox agents may run as another user
        self._descriptor = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._descriptor, self._keep)

    def close(self) -> None:
        """Write down what is still in the pipe, and let go of it."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._keep()
        os.close(self._descriptor)

    def _keep(self) -> None:
        try:
            data = os.read(self._descriptor, 1 << 20)
        except BlockingIOError:
            return
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            (self.folder / f"{uuid4()}.json").write_bytes(line)
