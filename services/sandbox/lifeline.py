"""A command in a sandbox begins only once the sandbox is sure to die with us.

Bubblewrap ties its processes to their parents one after another while it sets a sandbox up. Where we are
killed in the midst of that, one that is not yet tied survives, and would run the command without anybody to
end it. So the first thing that runs in the sandbox says that it is there, and waits for our word: by then
all are tied. If we are dead, the line is at its end, and nothing is run.

The line is the standard input of what runs first, which then opens the command's own in its place: a shell may
know descriptors of one digit only, so of any other the command would inherit it.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

WORD = b"go\n"
_SCRIPT = (
    'echo here >&0 && { %s read -r word; } && [ "$word" = go ] && input=$1 && shift'
    ' && exec <"/proc/self/fd/$input" && exec "$@"'
)
_OPENING = "chmod 0666 /proc/$$/fd/1 /proc/$$/fd/2;"


@dataclass(slots=True)
class Lifeline:
    """The descriptors that the sandbox inherits: the line as standard input, and the command's own input.

    `was_heard` says whether the sandbox has told that it is there: before that no command began in it.
    """

    line: int
    command_input: int
    was_heard: bool = False

    def arguments(self, *, opens_output: bool = False) -> tuple[str, ...]:
        """What stands before the command; if asked to it lets every user open the pipes that it writes to."""
        return ("/bin/sh", "-c", _SCRIPT % (_OPENING if opens_output else ""), "sh", str(self.command_input))


@contextlib.contextmanager
def lifeline(command_input: int) -> Iterator[Lifeline]:
    """A lifeline whose word is given as soon as the sandbox is there; the command reads from `command_input`."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    line = Lifeline(theirs.fileno(), command_input)

    def answer() -> None:
        loop.remove_reader(ours)
        line.was_heard = True
        with contextlib.suppress(ConnectionError):
            ours.send(WORD)

    with ours, theirs:
        loop.add_reader(ours, answer)
        try:
            yield line
        finally:
            loop.remove_reader(ours)
