"""What a child reads on its standard input."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def input_file(content: bytes) -> Iterator[int]:
    """A descriptor of a file that holds this, and that can only be read.

    A file and no pipe: a child need not read it, and may open /dev/stdin as often as it likes. In memory, as on
    Linux, it never has a name, so nothing is left of it where we are killed, and nobody can change it. What is
    large takes a while: 100 MB some 50 ms.
    """
    descriptor = _in_memory(content) if hasattr(os, "memfd_create") else _without_name(content)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _in_memory(content: bytes) -> int:
    """A file that is sealed: nobody can change it any more, whoever it is. Linux has them."""
    file = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _fill(file, content)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        return os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(file)


def _without_name(content: bytes) -> int:
    """A temporary file that loses its name as soon as it is open: for systems that have nothing better."""
    file, name = tempfile.mkstemp(prefix="autopack-stdin-")
    try:
        _fill(file, content)
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.unlink(name)
        os.close(file)


def _fill(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
    os.fchmod(file, 0o444)  # a child that is another user may open it as well
