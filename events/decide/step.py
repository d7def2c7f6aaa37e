"""A step as it is decided: the events so far, and the project as they make it."""

from datetime import datetime

from events.catalogue import AnyEventData
from events.decide.due import due
from events.event import Event
from events.evolve import evolve
from events.ids import derived_id
from events.state import Project

SOURCE = "/autopack/supervisor"
STEP_LIMIT = 10_000


class EndlessDecision(Exception):
    """A decision did not come to rest: two rules undo each other."""


class Step:
    """What follows from one submitted record, written down event by event.

    `parts` and the place in the step make the ids, so deciding again gives the same.
    """

    def __init__(self, project: Project, cause: Event, parts: tuple[str | int, ...], now: datetime) -> None:
        self.project = project
        self.events: list[Event] = []
        self._cause = cause
        self._parts = parts
        self._now = now

    def take(self, event: Event) -> None:
        """One more event, as it is."""
        self.events.append(event)
        self.project = evolve(self.project, event)
        if len(self.events) > STEP_LIMIT:
            last = [type(e.data).__name__ for e in self.events[-6:]]
            raise EndlessDecision(f"{self._cause.id}: {last}")

    def write(self, run_id: str, data: AnyEventData) -> None:
        """One more event that follows from the submitted one.

        The run is part of its id: a client that uses an id again in another run must not mix up the two.
        """
        identifier = derived_id(self.project.project_id, run_id, *self._parts, len(self.events))
        self.take(
            Event(
                id=identifier,
                source=SOURCE,
                run_id=run_id,
                recorded_at=self._now,
                data=data,
                cause_id=self._cause.id,
                traceparent=self._cause.traceparent if self._cause.run_id == run_id else None,
            )
        )

    def bring_to_rest(self, run_id: str) -> None:
        """Whatever is due in a run, one event at a time, until nothing is."""
        while (data := self._due(run_id)) is not None:
            self.write(run_id, data)

    def _due(self, run_id: str) -> AnyEventData | None:
        run = self.project.runs.get(run_id)
        waits_in_line = run is not None and run.started_at is None and run.ending is None
        return None if run is None or waits_in_line else due(run, self._now)
