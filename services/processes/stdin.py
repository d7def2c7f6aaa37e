"""What a child reads on its standard input."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from services.processes.finishing import in_any_case


@contextlib.asynccontextmanager
async def input_file(content: bytes) -> AsyncIterator[int]:
    """A descriptor of a file without a name that holds this, and through which it can only be read.

    A file and no pipe: a child need not read it, and may open /dev/stdin as often as it likes.
    """
    with tempfile.NamedTemporaryFile(delete=False) as file:
        try:
            descriptor = os.open(file.name, os.O_RDONLY)
        finally:
            os.unlink(file.name)
        try:
            await in_any_case(asyncio.to_thread(_fill, file, content))
            yield descriptor
        finally:
            os.close(descriptor)


def _fill(file: IO[bytes], content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fchmod(file.fileno(), 0o444)
