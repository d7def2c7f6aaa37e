"""The user's repository as the command line names it; it is only looked at."""

from pathlib import Path

from services.cli.failures import WrongUsage

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
    import git

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
    """The text of autopack.toml as it is committed at a base, None where it is not there."""
    import git

    with git.Repo(folder, search_parent_directories=True) as repository:
        if not repository.heads and base is None:
            raise WrongUsage(f"{folder}: the repository has no commit yet")
        try:
            commit = repository.commit(base or "HEAD")
        except (git.exc.GitError, ValueError, IndexError) as error:
            raise WrongUsage(f"{folder}: there is no base {base!r}") from error
        try:
            return str((commit.tree / CONFIGURATION).data_stream.read().decode())
        except KeyError:
            return None
