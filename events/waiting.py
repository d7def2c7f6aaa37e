"""The runs that wait for their turn: frozen values whose changes cost the same however many wait."""

from collections.abc import Iterator

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

_BITS = 256
"""Of one block. Four levels hold more numbers than a project will ever have runs."""
_LEVELS = 4

Blocks = Map[int, int]
"""Which numbers of each block are there, a bit a number; a block without any is left out."""


class Numbers(Struct, frozen=True):
    """A set of whole numbers below 256 ** 4 that knows its smallest.

    The lowest level holds the numbers themselves, each further one which blocks of the level below hold any.
    """

    levels: tuple[Blocks, ...] = (Map(),) * _LEVELS

    def added(self, number: int) -> "Numbers":
        """The set with this number, which it had not. Raises OverflowError."""
        if not 0 <= number < _BITS**_LEVELS:
            raise OverflowError(f"{number} is no number of this set")
        levels = list(self.levels)
        for level, blocks in enumerate(levels):
            block, bit = divmod(number, _BITS)
            levels[level] = blocks.set(block, blocks.get(block, 0) | 1 << bit)
            if block in blocks:
                break
            number = block
        return Numbers(tuple(levels))

    def without(self, number: int) -> "Numbers":
        """The set without this number, which it had."""
        levels = list(self.levels)
        for level, blocks in enumerate(levels):
            block, bit = divmod(number, _BITS)
            left = blocks[block] & ~(1 << bit)
            levels[level] = blocks.set(block, left) if left else blocks.delete(block)
            if left:
                break
            number = block
        return Numbers(tuple(levels))

    @property
    def smallest(self) -> int | None:
        """The smallest number, None where there is none."""
        if not self.levels[-1]:
            return None
        number = 0
        for blocks in reversed(self.levels):
            held = blocks[number]
            number = number * _BITS + (held & -held).bit_length() - 1
        return number


class Place(Struct, frozen=True):
    """Where a run stands in the line, and which run's end it waits for beforehand."""

    number: int
    behind: str | None = None


class Line(Struct, frozen=True):
    """The waiting runs of a project, in the order in which they came.

    Those that wait for the end of another run let others pass, and stand in their old place afterwards: `ready`
    holds the places of those who wait for their turn alone, `followers` the runs behind each other run.
    """

    places: Map[str, Place] = field(default_factory=Map)
    ready: Numbers = field(default_factory=Numbers)
    holders: Map[int, str] = field(default_factory=Map)
    followers: Map[str, Map[str, bool]] = field(default_factory=Map)
    next_number: int = 0

    @property
    def first(self) -> str | None:
        """The run whose turn it is, if any."""
        number = self.ready.smallest
        return None if number is None else self.holders[number]

    def joined(self, run_id: str, behind: str | None) -> "Line":
        """The line with one more run at its end, which waits for the end of another, or for none."""
        place = Place(self.next_number, behind)
        line = replace(
            self,
            places=self.places.set(run_id, place),
            holders=self.holders.set(place.number, run_id),
            next_number=self.next_number + 1,
        )
        if behind is None:
            return replace(line, ready=self.ready.added(place.number))
        others = self.followers.get(behind, Map())
        return replace(line, followers=self.followers.set(behind, others.set(run_id, True)))

    def left_by(self, run_id: str) -> "Line":
        """The line without a run; the same where it did not wait."""
        place = self.places.get(run_id)
        if place is None:
            return self
        line = replace(self, places=self.places.delete(run_id), holders=self.holders.delete(place.number))
        if place.behind is None:
            return replace(line, ready=self.ready.without(place.number))
        others = self.followers[place.behind].delete(run_id)
        if not others:
            return replace(line, followers=self.followers.delete(place.behind))
        return replace(line, followers=self.followers.set(place.behind, others))

    def released_by(self, run_id: str) -> "Line":
        """The line when a run has ended: whoever waited for that waits for nothing but its turn."""
        followers = self.followers.get(run_id)
        if followers is None:
            return self
        places, ready = self.places, self.ready
        for follower in sorted(followers):
            place = Place(places[follower].number)
            places, ready = places.set(follower, place), ready.added(place.number)
        return replace(self, places=places, ready=ready, followers=self.followers.delete(run_id))

    def __contains__(self, run_id: str) -> bool:
        return run_id in self.places

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[str]:
        """All of them, in order: at a cost that grows with their number."""
        return iter(sorted(self.places, key=lambda run_id: self.places[run_id].number))
