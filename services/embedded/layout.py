"""Where the embedded Postgres keeps its files, and the address that its users connect to."""

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

DATABASE = "postgres"
ROLE = "autopack"
PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
LONGEST_SOCKET_PATH_BYTES = 107
"""The kernel's limit on the path of a unix socket; a longer one cannot be bound."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The files under one home. Only the keeper writes any of them but the log and the locks."""

    root: Path

    @classmethod
    def under(cls, home: Path) -> "Layout":
        """Return the layout for one `AUTOPACK_HOME`; nothing is created."""
        return cls(home.absolute() / "postgres")

    @property
    def data(self) -> Path:
        """The data directory of the server."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the server and its keeper print, since the latest start."""
        return self.root / "server.log"

    @property
    def users(self) -> Path:
        """Held shared by each user of the server; exclusively by a keeper that is stopping it."""
        return self.root / "users.lock"

    @property
    def keeper(self) -> Path:
        """Held by the one keeper, as long as it lives."""
        return self.root / "keeper.lock"

    @property
    def serving(self) -> Path:
        """Held by the keeper while the server takes connections."""
        return self.root / "serving.lock"

    @property
    def socket_record(self) -> Path:
        """Names the folder of the socket, where the home's own path is too long for one."""
        return self.root / "socket-folder"

    def socket_folder(self) -> Path:
        """Return the folder in which the server listens. Made by `make_socket_folder`."""
        own = self.root / "socket"
        if _fits(own):
            return own
        return Path(self.socket_record.read_text(encoding="utf-8"))

    def url(self) -> str:
        """Return the address for asyncpg: a unix socket, so that no other machine or user can reach it."""
        return f"postgresql://{ROLE}@/{DATABASE}?host={quote(str(self.socket_folder()), safe='')}&port={PORT}"

    def make_socket_folder(self) -> Path:
        """Make the folder of the socket, for this user alone. One that a killed server left is emptied and used.

        The lock file of a socket names a process, and a new server would refuse to start while any process
        bears that number; the caller knows that no server of this home runs.
        """
        own = self.root / "socket"
        if _fits(own):
            own.mkdir(mode=0o700, exist_ok=True)
            folder = own
        else:
            folder = self._recorded_folder() or self._new_short_folder()
        for file in folder.iterdir():
            file.unlink()
        return folder

    def remove_socket_folder(self) -> None:
        """Remove the folder of the socket, and the record of it."""
        shutil.rmtree(self.root / "socket", ignore_errors=True)
        if (recorded := self._recorded_folder()) is not None:
            shutil.rmtree(recorded, ignore_errors=True)
        self.socket_record.unlink(missing_ok=True)

    def _recorded_folder(self) -> Path | None:
        # Others may write to the temporary folder: what stands there is used only if it is still ours alone.
        try:
            folder = Path(self.socket_record.read_text(encoding="utf-8"))
            found = folder.lstat()
        except OSError:
            return None
        private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
        return folder if private and found.st_uid == self.root.stat().st_uid else None

    def _new_short_folder(self) -> Path:
        usual = Path(tempfile.gettempdir())
        place = usual if _fits(usual / "autopack-01234567") else Path("/tmp")
        folder = Path(tempfile.mkdtemp(prefix="autopack-", dir=place))
        self.socket_record.write_text(str(folder), encoding="utf-8")
        return folder


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_SOCKET_PATH_BYTES
