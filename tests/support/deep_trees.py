"""Trees that are deeper than recursion and paths reach, as a loop of `mkdir` and `cd` makes them."""

import os
from pathlib import Path

TOO_DEEP_FOR_RECURSION = 1_200
TOO_DEEP_FOR_PATHS = 3_000

NESTED = "d() { printf 'd/%.0s' $(seq $1); }; "
"""Shell: `d 3` is `d/d/d/`."""


def make_deep(top: Path, levels: int, name: str = "file") -> None:
    """Make so many folders, one within the other, with a file in the last."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=here))
    os.close(here)
