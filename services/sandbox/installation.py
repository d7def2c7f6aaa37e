"""What a command needs of this machine: its executable, the interpreter's installation, the files it names."""

import os
import pwd
import shutil
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from time import monotonic

EXECUTABLE_FOLDERS = frozenset({"bin", "sbin", "libexec"})
PARTS = ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "include", "share", "conf", "pyvenv.cfg")
LONGEST_SHEBANG_BYTES = 256
MOST_STEPS = 16
REMEMBERED_SECONDS = 10.0
"""So much later at most an installation shows that comes to lie on the search path."""


def find_executable(name: str, search_path: str, folder: Path) -> Path | None:
    """Find what `name` would start in `folder`: a name on the path, or a path, which may be relative."""
    if "/" not in name:
        found = shutil.which(name, path=search_path)
        return Path(found) if found else None
    path = folder / name
    return path if shutil.which(path) else None


def needed_paths(executable: Path | None, arguments: Iterable[str], search_path: str) -> tuple[Path, ...]:
    """List what must be visible for the command to work, wherever it lies. Reads the file system.

    Besides what the command itself names these are the installations on the search path, because a build
    or a test run calls more tools than the one that starts it. `executable` is None for a file that an
    agent may have written: what its links and its `#!` line name is not shown for their sake.
    """
    found: dict[Path, None] = {}
    for path in _executable_paths(executable, search_path) if executable else ():
        found.update(dict.fromkeys(path))
    found.update(dict.fromkeys(_named_paths(arguments)))
    found.update(dict.fromkeys(_on_path(search_path, int(monotonic() / REMEMBERED_SECONDS))))
    return tuple(path for path in found if path.exists())


@lru_cache(maxsize=8)
def _on_path(search_path: str, moment: int) -> tuple[Path, ...]:
    """The installations on the search path, looked for once a moment: every job asks."""
    folders = [Path(folder) for folder in search_path.split(":") if folder.startswith("/")]
    parts = (part for folder in folders if folder.is_dir() for part in _installation(folder / "any"))
    return tuple(dict.fromkeys(part for part in parts if part.exists()))


def interpreters_behind(folder: Path) -> tuple[Path, ...]:
    """List the installations of Python that virtual environments in a folder were made from. Blocking.

    The environments may be anybody's work: what their links name is shown only where it is a Python.
    """
    found: dict[Path, None] = {}
    for settings in (folder / "pyvenv.cfg", *folder.glob("*/pyvenv.cfg")):
        for step in _links_from(settings.parent / "bin" / "python"):
            if _is_python(step):
                found.update(dict.fromkeys(_installation(step)))
    return tuple(path for path in found if path.exists() and not path.is_relative_to(folder))


def _links_from(path: Path) -> Iterator[Path]:
    for _ in range(MOST_STEPS):
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))
        yield path


def _is_python(executable: Path) -> bool:
    standard_library = executable.parent.parent.glob("lib*/python3*/os.py")
    return executable.name.startswith("python") and any(standard_library)


def _executable_paths(executable: Path, search_path: str) -> Iterator[list[Path]]:
    """Follow links and `#!` lines from an executable to the program that runs it in the end."""
    step: Path | None = executable
    for _ in range(MOST_STEPS):
        if step is None:
            return
        yield [step, *_installation(step), *_base_of_environment(step)]
        step = _next_step(step, search_path)


def _next_step(path: Path, search_path: str) -> Path | None:
    if path.is_symlink():
        return path.parent / path.readlink()
    return _interpreter(path, search_path)


def _interpreter(path: Path, search_path: str) -> Path | None:
    try:
        with path.open("rb") as file:
            start = file.read(LONGEST_SHEBANG_BYTES)
    except OSError:
        return None
    if not start.startswith(b"#!"):
        return None
    words = start[2:].split(b"\n")[0].decode(errors="replace").split()
    if not words:
        return None
    if Path(words[0]).name != "env":
        return Path(words[0])
    names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return find_executable(names[0], search_path, Path("/")) if names else None


def _installation(executable: Path) -> list[Path]:
    """List the parts of an installation (`bin`, `lib` …), never a whole home folder beside them."""
    folder = executable.parent
    # Version managers put one script a tool there, which starts the real one through its own folder.
    if folder.name == "shims":
        return [folder.parent]
    if folder.name not in EXECUTABLE_FOLDERS:
        return []
    prefix = folder.parent
    if prefix == Path("/") or prefix in _home_folders():
        return [folder]
    parts = [part for part in PARTS if part != "share" or prefix.name != ".local"]
    return [prefix / part for part in parts]


def _base_of_environment(executable: Path) -> list[Path]:
    """A virtual environment of Python names the installation that it was made from."""
    try:
        lines = (executable.parent.parent / "pyvenv.cfg").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    homes = [value.strip() for key, _, value in (line.partition("=") for line in lines) if key.strip() == "home"]
    return [part for home in homes for part in _installation(Path(home) / "python")]


def _home_folders() -> frozenset[Path]:
    return frozenset(Path(entry.pw_dir) for entry in pwd.getpwall())


def _named_paths(arguments: Iterable[str]) -> Iterator[Path]:
    """Find absolute paths among arguments, also in the form `--option=/path`."""
    for argument in arguments:
        option, _, value = argument.rpartition("=")
        text = value if option.startswith("-") else argument
        if text.startswith("/") and text.strip("/") and "\0" not in text and _exists(Path(text)):
            yield Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # A long script given as an argument is no name of a file.
        return False
