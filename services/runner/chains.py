"""Which records go on where their run had come to, for the runs last heard of. Pure."""

from events.history import Head, Link, link, next_head
from events.links import LinkAttributes

RunKey = tuple[str, str]


class Chains:
    """The heads of the runs last heard of, from where following began: a run's first record is believed.

    A run with a record that does not go on where it had come to is quarantined for good.
    """

    def __init__(self, runs_remembered: int) -> None:
        self._runs_remembered = runs_remembered
        self._heads: dict[RunKey, Head] = {}
        self.quarantined: dict[RunKey, str] = {}

    def __len__(self) -> int:
        """Of how many runs it is known how far they have come."""
        return len(self._heads)

    def take(self, at: LinkAttributes, value: bytes) -> Link:
        """How the next record stands to its run's head; the run is quarantined where it forks."""
        run = (at.project, at.run_id)
        if run in self.quarantined:
            return Link.FORKS
        head = self._heads.pop(run, None)  # so that the run last heard of stands last
        found = Link.EXTENDS if head is None else link(head, at.sequence, at.prevhash, value)
        if found is Link.FORKS:
            self.quarantined[run] = f"record {at.sequence} does not extend the chain"
            return found
        if head is None or found is Link.EXTENDS:
            head = next_head(head or Head(at.sequence - 1, at.prevhash), at.type_name, value)
        self._remember(run, head)
        return found

    def _remember(self, run: RunKey, head: Head) -> None:
        self._heads[run] = head
        if len(self._heads) > self._runs_remembered:
            del self._heads[next(iter(self._heads))]
