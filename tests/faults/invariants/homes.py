"""What may lie in a home when nobody works there, name by name: whatever else does was left behind."""

import re
from collections.abc import Iterator
from pathlib import Path

_MIRROR = r"mirrors/[0-9a-f]{32}\.git"
_FOLDERS = re.compile(
    "|".join(
        (
            r"ready|work|scratch|prepared|mirrors|\.autonomous_runs(/.*)?",
            r"artifacts(/incoming|/blobs(/[0-9a-f]{2})?|/named(/.*)?)?",
            _MIRROR + r"(/refs(/.*)?|/objects(/[0-9a-f]{2}|/pack|/info)?|/info)?",
            _MIRROR + r"/autopack(/quarantines|/intents)?",
        )
    )
)
_FILES = re.compile(
    "|".join(
        (
            r"agents\.toml|service\.json|collected|collection\.flock|ready/[a-z]+",
            r"\.autonomous_runs/(.*/)?(?!\.unfinished-)[^/]+",
            r"artifacts/(blobs/[0-9a-f]{2}/[0-9a-f]{62}|named/.*)",
            _MIRROR + r"/(HEAD|config|packed-refs|info/refs|refs/.*(?<!\.lock))",
            _MIRROR + r"/objects/([0-9a-f]{2}/[0-9a-f]{38}|info/(packs|commit-graph))",
            _MIRROR + r"/objects/pack/pack-[0-9a-f]{40}\.(pack|idx|rev)",
            _MIRROR + r"/autopack/(repository|writers\.flock|fetch\.flock|collection\.flock)",
        )
    )
)
_KEPT_A_WHILE = re.compile(
    "|".join(
        (
            r"artifacts/(incoming)/[0-9a-f]{32}",
            r"\.autonomous_runs/(?:.*/)?\.(unfinished)-[0-9a-f]{16}",
            _MIRROR + r"/autopack/(intents)/[0-9a-f]{32}",
            _MIRROR + r"/autopack/(pin-)[0-9a-f]{16}",
            _MIRROR + r"/objects/(?:[0-9a-f]{2}|pack)/(tmp_)\w+",
        )
    )
)


def left_in(home: Path) -> list[Path]:
    """Every file and folder without a name that stays; of a folder only itself."""
    return list(_left(home, home)) if home.exists() else []


def kind_of_what_is_kept(home: Path, path: Path) -> str | None:
    """The kind of file that a killed process may leave for a day, as it may be another's at work; or None."""
    found = _KEPT_A_WHILE.fullmatch(path.relative_to(home).as_posix())
    return None if found is None else next(kind for kind in found.groups() if kind)


def _left(home: Path, folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        is_folder = path.is_dir() and not path.is_symlink()
        if not (_FOLDERS if is_folder else _FILES).fullmatch(path.relative_to(home).as_posix()):
            yield path
        elif is_folder:
            yield from _left(home, path)
