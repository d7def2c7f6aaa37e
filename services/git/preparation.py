"""Preparing a run: which commit it starts from, and what the repository says at that commit."""

import re
from dataclasses import dataclass
from typing import assert_never

from services.git.command import GitCommand, Place
from services.git.failures import (
    BaseMissing,
    CommitMissing,
    ConfigurationUnreadable,
    GitFailed,
    RepositoryEmpty,
    RepositoryMissing,
    RepositoryUnreachable,
    RepositoryUnsupported,
)
from services.git.mirror import Mirror, fetch_commit
from services.git.objects import FoundObject, read_objects
from services.git.source import LocalRepository, RemoteRepository

CONFIGURATION_NAME = "autopack.toml"
CONFIGURATION_LIMIT_BYTES = 256 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGER_COMMIT = re.compile(r"[0-9a-f]{64}")
_NOT_THERE = re.compile(r"does not exist|not found|not appear to be a git repository|no such", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run starts from: the commit, the default branch (if HEAD names one), the configuration."""

    base_commit: str
    default_branch: str | None
    configuration: str | None


async def prepare(mirror: Mirror, base: str | None = None) -> Prepared:
    """Resolve `base` (a branch, tag, commit; left out: HEAD), bring it here, read its autopack.toml.

    Only committed state counts. Raises RepositoryMissing, RepositoryUnsupported, RepositoryUnreachable,
    RepositoryEmpty, BaseMissing, ConfigurationUnreadable.
    """
    _check_base(base)
    match mirror.repository:
        case LocalRepository() as local:
            commit, default_branch = await _resolve_local(mirror.git, local, base)
        case RemoteRepository() as remote:
            commit, default_branch = await _resolve_remote(mirror.git, remote, base)
        case _:
            assert_never(mirror.repository)
    await _bring(mirror, commit, base)
    return Prepared(commit, default_branch, await read_configuration(mirror, commit))


async def read_configuration(mirror: Mirror, commit: str) -> str | None:
    """The text of autopack.toml at a commit; raises CommitMissing, ConfigurationUnreadable."""
    found = await read_objects(mirror, [f"{commit}^{{commit}}", f"{commit}:{CONFIGURATION_NAME}"])
    if found[0] is None:
        raise CommitMissing(commit)
    return _configuration_text(found[1])


def _configuration_text(found: FoundObject | None) -> str | None:
    if found is None:
        return None
    if found.kind != "blob" or len(found.content) > CONFIGURATION_LIMIT_BYTES:
        raise ConfigurationUnreadable(f"It is a {found.kind} of {len(found.content)} bytes.")
    try:
        return found.content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationUnreadable(str(error)) from error


def _check_base(base: str | None) -> None:
    if base is not None and (not base.strip() or any(ord(character) < 32 for character in base)):
        raise BaseMissing(repr(base))


async def _bring(mirror: Mirror, commit: str, base: str | None) -> None:
    try:
        await fetch_commit(mirror, commit)
    except GitFailed as error:
        if base == commit:  # an id that we could not look up beforehand
            raise BaseMissing(f"{base}: {error.stderr_tail}") from error
        raise RepositoryUnreachable(error.stderr_tail) from error


async def _resolve_local(git: GitCommand, repository: LocalRepository, base: str | None) -> tuple[str, str | None]:
    # Names go in through stdin: there a base like "--help" is no option.
    names = [f"refs/heads/{base}^{{commit}}", f"{base}^{{commit}}"] if base else ["HEAD^{commit}"]
    checked = await git.run(
        repository.place,
        "cat-file",
        "--batch-check=%(objectname)",
        stdin="".join(f"{name}\n" for name in names).encode(),
    )
    lines = checked.stdout.decode().splitlines()
    found = next((line for line in lines if _COMMIT.fullmatch(line)), None)
    if found is None:
        if any(_LONGER_COMMIT.fullmatch(line) for line in lines):
            raise RepositoryUnsupported(f"{repository.git_dir}: its object format is SHA-256; SHA-1 is served")
        raise await _why_no_base(git, repository, base)
    head = await git.run(repository.place, "symbolic-ref", "--quiet", "HEAD", accept=(0, 1))
    return found, _branch_of(head.stdout.decode().strip())


async def _why_no_base(
    git: GitCommand, repository: LocalRepository, base: str | None
) -> BaseMissing | RepositoryEmpty:
    first = await git.run(repository.place, "for-each-ref", "--count=1")
    if not first.stdout:
        return RepositoryEmpty(str(repository.git_dir))
    return BaseMissing(base or "HEAD names a branch without a commit")


async def _resolve_remote(
    git: GitCommand, repository: RemoteRepository, base: str | None
) -> tuple[str, str | None]:
    references, default_branch = await _list_remote(git, repository)
    if not references:
        raise RepositoryEmpty(repository.address)
    found = next((references[name] for name in _remote_names(base) if name in references), None)
    if found is None and base is not None and _COMMIT.fullmatch(base):
        found = base
    if found is None:
        raise BaseMissing(base or "HEAD")
    return found, default_branch


def _remote_names(base: str | None) -> list[str]:
    """The names that a base can have at a remote, the likeliest first; tags are peeled."""
    if base is None:
        return ["HEAD"]
    return [f"refs/heads/{base}", f"refs/tags/{base}^{{}}", f"refs/tags/{base}", base]


async def _list_remote(git: GitCommand, repository: RemoteRepository) -> tuple[dict[str, str], str | None]:
    try:
        listed = await git.run(Place(), "ls-remote", "--symref", repository.address)
    except GitFailed as error:
        if _NOT_THERE.search(error.stderr_tail):
            raise RepositoryMissing(repository.address) from error
        raise RepositoryUnreachable(error.stderr_tail) from error
    references: dict[str, str] = {}
    default_branch = None
    for line in listed.stdout.decode("utf-8", "replace").splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            default_branch = _branch_of(value.removeprefix("ref: "))
        elif not value.startswith("ref: "):
            references[name] = value
    return references, default_branch


def _branch_of(reference: str) -> str | None:
    return reference.removeprefix("refs/heads/") if reference.startswith("refs/heads/") else None
