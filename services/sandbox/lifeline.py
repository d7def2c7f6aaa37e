"""A command in a sandbox begins only once the sandbox is sure to die with us.

Bubblewrap ties its processes to their parents one after another while it sets a sandbox up. Where we are
killed in the midst of that, one that is not yet tied survives, and would run the command without anybody to
end it. So the first thing that runs in the sandbox says that it is there, and waits for our word: by then
all are tied. If we are dead, the pipe is at its end, and nothing is run.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

WORD = b"go\n"
# A shell may know descriptors of one digit only, hence the paths.
_SCRIPT = (
    'echo here >"/proc/self/fd/$1" && read -r word <"/proc/self/fd/$2" && [ "$word" = go ] && shift 2 && exec "$@"'
)


@dataclass(frozen=True, slots=True)
class Lifeline:
    """The descriptors that the sandbox inherits: on one it says that it is there, on the other it hears us."""

    says: int
    hears: int

    def arguments(self) -> tuple[str, ...]:
        """What stands before the command."""
        return ("/bin/sh", "-c", _SCRIPT, "sh", str(self.says), str(self.hears))


@contextlib.contextmanager
def lifeline() -> Iterator[Lifeline]:
    """A lifeline whose word is given as soon as the sandbox is there."""
    (here, says), (hears, word) = os.pipe(), os.pipe()
    loop = asyncio.get_running_loop()

    def answer() -> None:
        loop.remove_reader(here)
        with contextlib.suppress(BrokenPipeError):
            os.write(word, WORD)

    loop.add_reader(here, answer)
    try:
        yield Lifeline(says, hears)
    finally:
        loop.remove_reader(here)
        for descriptor in (here, says, hears, word):
            os.close(descriptor)
