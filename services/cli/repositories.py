"""The user's repository as the command line names it; it is only looked at."""

from pathlib import Path
from typing import Any, NoReturn

from services.cli.failures import Unsuccessful, WrongUsage

CONFIGURATION = "autopack.toml"


def is_address(text: str) -> bool:
    """Whether this names a repository elsewhere: `https://…`, `ssh://…`, `user@host:path`."""
    if Path(text).exists():
        return False
    return "://" in text or ":" in text.partition("/")[0]


def repository_address(text: str) -> str:
    """What a request calls the repository: a URL as it is, a folder by its absolute root.

    Raises WrongUsage where there is no repository in the folder.
    """
    if is_address(text):
        return text
    return str(root_of(Path(text)))


def root_of(folder: Path) -> Path:
    """The root of the work tree that a folder belongs to, or the bare repository that it is."""
    git = _library()
    if not folder.exists():
        raise WrongUsage(f"{folder}: there is no such folder")
    try:
        with git.Repo(folder, search_parent_directories=True) as repository:
            return Path(repository.working_tree_dir or repository.git_dir).resolve()
    except git.exc.InvalidGitRepositoryError as error:
        raise WrongUsage(f"{folder} is not in a git repository") from error
    except git.exc.GitError as error:
        raise WrongUsage(f"{folder}: {error}") from error


def committed_configuration(folder: Path, base: str | None) -> str | None:
    """The text of autopack.toml as it is committed at a base, None where it is not there; raises WrongUsage."""
    git = _library()
    with git.Repo(folder, search_parent_directories=True) as repository:
        if not repository.heads and base is None:
            raise WrongUsage(f"{folder}: the repository has no commit yet")
        try:
            found = repository.commit(base or "HEAD").tree / CONFIGURATION
            return str(found.data_stream.read().decode()) if found.type == "blob" else _not_text(folder)
        except KeyError:
            return None
        except UnicodeDecodeError:
            return _not_text(folder)
        except (git.exc.GitError, git.exc.ODBError, ValueError, IndexError) as error:
            raise WrongUsage(f"{folder}: there is no base {base or 'HEAD'!r}") from error


def _not_text(folder: Path) -> NoReturn:
    raise WrongUsage(f"{folder}: the committed {CONFIGURATION} is not a readable text file")


def _library() -> Any:
    """GitPython, which looks for git when it is imported; raises Unsuccessful where there is none."""
    try:
        import git
    except ImportError as error:
        raise Unsuccessful("there is no git on the PATH: install it; `autopack doctor` says how") from error
    return git
