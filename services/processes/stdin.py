"""What a child reads on its standard input."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
"""Nobody can change it any more, whoever it is."""


@contextlib.contextmanager
def input_file(content: bytes) -> Iterator[int]:
    """A descriptor of a file in memory that holds this, and that can only be read.

    A file and no pipe: a child need not read it, and may open /dev/stdin as often as it likes. It never has a
    name, so nothing is left of it where we are killed. What is large takes a while: 100 MB some 50 ms.
    """
    file = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _fill(file, content)
        descriptor = os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(file)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _fill(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
    os.fchmod(file, 0o444)  # a child that is another user may open it as well
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, SEALS)
