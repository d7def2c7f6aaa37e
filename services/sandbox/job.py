"""A command to run in a sandbox, and the sandbox as its users see it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from services.processes import Completed, Redactor
from services.processes.command import DEFAULT_OUTPUT_CAP_BYTES
from services.sandbox.specification import Mount


@dataclass(frozen=True, slots=True)
class Job:
    """A command and all that it may see: it starts in `work_folder`, which it may change.

    `shown_at` is where a sandbox shows the work folder, so that paths which one job writes down hold for
    the next, wherever its folder lies. A relative `argv[0]` is looked for in the work folder and in what is
    lent. `secrets` are names in the service's environment, `variables` are added as they are. `readonly`
    shows something elsewhere than where it lies; a relative destination lies within the work folder. What
    finds a file or a link in its way is not shown. Limits are as those of a `Command`.

    Where there is no sandbox, there is no such place either: the job sees its folder where it lies, and
    gets copies of what is lent within it, which are taken away again; other mounts do not show.
    """

    argv: tuple[str, ...]
    work_folder: Path
    shown_at: Path | None = None
    stdin: bytes = b""
    network: bool = False
    secrets: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    readonly_paths: tuple[Path, ...] = ()
    readonly: tuple[Mount, ...] = ()
    writable_paths: tuple[Path, ...] = ()
    limit_seconds: float | None = None
    idle_seconds: float | None = None
    grace_seconds: float = 5.0
    output_cap_bytes: int = DEFAULT_OUTPUT_CAP_BYTES
    on_line: Callable[[str], None] | None = None


class Sandbox(Protocol):
    """Runs jobs so that nothing of them is left when they end."""

    @property
    def name(self) -> str:
        """Say which sandbox this is, with its version, for the record; `none` where there is none."""
        ...

    @property
    def has_places(self) -> bool:
        """Say whether jobs see their work folder where `shown_at` says, and not where it lies."""
        ...

    async def run(self, job: Job, stop: asyncio.Event | None = None) -> Completed:
        """Run a job to its end, or until `stop` is set; every process of it is dead afterwards.

        The work folder is ours again afterwards. Raises SecretMissing, SecretForbidden and SandboxUnavailable.
        """
        ...

    def redactor(self, secrets: tuple[str, ...]) -> Redactor:
        """Give what takes these secrets out of other things that a job wrote."""
        ...


class SandboxUnavailable(Exception):
    """No sandbox works on this machine"""

    def __init__(self, reason: str):
        super().__init__(
            f"{self.__doc__}: {reason}. Install bubblewrap and util-linux and allow user namespaces, or run as "
            "root; AUTOPACK_ALLOW_UNSANDBOXED=1 runs agents and checks without any protection"
        )
        self.reason = reason
