"""Which refs exist at a target, and which leave no room for others.

Git keeps refs as files in folders (and where it does not, it keeps to that rule): beside `a/b` there can be
neither `a` nor `a/b/c`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.git.target import Target

_ALWAYS_FOLDERS = ("refs/heads", "refs/tags")


@dataclass(frozen=True, slots=True)
class Standing:
    """Those of the refs asked for that exist, and the names of the others that are in their way."""

    found: Mapping[str, str]
    in_the_way: tuple[str, ...]


async def standing(target: Target, *names: str) -> Standing:
    """Look for refs, and for what is in their way; raises GitFailure. One process."""
    above = {parent for name in names for parent in _parents(name)}
    listed = await target.references(*names, *above, below=names)
    found = {name: value for name, value in listed.items() if name in names}
    return Standing(found, tuple(sorted(listed.keys() - found.keys())))


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    parents = ("/".join(parts[:length]) for length in range(2, len(parts)))
    return (parent for parent in parents if parent not in _ALWAYS_FOLDERS)
