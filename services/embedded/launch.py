"""How the programs of Postgres are run: they refuse to run as root, and root is what containers give.

Three ways, the first that works is taken. In all of them the server dies with its keeper.
"""

import asyncio
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from services.embedded.layout import ROLE
from services.sandbox.locate import find_bubblewrap

NAMESPACE_ID = 1000
UNPRIVILEGED_ID = 65534


class NoWayToRunPostgres(Exception):
    """Postgres refuses to run as root, and neither bubblewrap nor setpriv can give it another user."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A prefix of the command line, and the user that the data directory then has to belong to."""

    prefix: tuple[str, ...]
    owner_id: int

    async def start(self, *command: str | Path) -> asyncio.subprocess.Process:
        """Start a program of Postgres. It prints where its keeper prints, and gets no environment of ours."""
        return await asyncio.create_subprocess_exec(
            *self.prefix,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
        )

    async def works(self) -> bool:
        """Try the prefix on a program that does nothing."""
        process = await self.start("true")
        return await process.wait() == 0


async def choose_launch(folder: Path) -> Launch:
    """Return the way that works on this machine. Writes a small file to `folder`, which must be there."""
    if os.geteuid() != 0 and _has_a_name(os.geteuid()):
        return as_it_is()
    for launch in (in_a_namespace(folder), as_another_user()):
        if launch is not None and await launch.works():
            return launch
    raise NoWayToRunPostgres(NoWayToRunPostgres.__doc__)


def as_it_is() -> Launch:
    """Run as the user that we are."""
    setpriv = shutil.which("setpriv")
    return Launch((setpriv, "--pdeathsig", "KILL", "--") if setpriv else (), os.geteuid())


def in_a_namespace(folder: Path) -> Launch | None:
    """Run in a user namespace, where we bear another number and our files belong to it."""
    bubblewrap = find_bubblewrap()
    if bubblewrap is None:
        return None
    # initdb demands a name for the number that it runs under, which the machine's own list may lack.
    names = folder / "passwd"
    names.write_text(f"{ROLE}:x:{NAMESPACE_ID}:{NAMESPACE_ID}::/:/bin/false\n", encoding="utf-8")
    identity = ("--unshare-user", "--uid", str(NAMESPACE_ID), "--gid", str(NAMESPACE_ID))
    mounts = ("--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--ro-bind", str(names), "/etc/passwd")
    return Launch((str(bubblewrap), "--die-with-parent", *identity, *mounts, "--"), os.geteuid())


def as_another_user() -> Launch | None:
    """Run as nobody, where root may not make namespaces (a container without them).

    The capability lets the server pass the closed folders above its own: opening those to everybody would
    be worse.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        return None
    identity = ("--reuid", str(UNPRIVILEGED_ID), "--regid", str(UNPRIVILEGED_ID), "--clear-groups")
    passage = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override")
    return Launch((setpriv, "--pdeathsig", "KILL", *identity, *passage, "--"), UNPRIVILEGED_ID)


def _has_a_name(user_id: int) -> bool:
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return False
    return True
