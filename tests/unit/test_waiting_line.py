"""The line of waiting runs: in order of arrival, and at the same cost however long it is."""

from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.decide import Context, outcome
from events.event import Event
from events.evolve import evolve
from events.families.run import RunCancelRequested
from events.families.work import WorkStarted
from events.history import PartitionState
from events.state import Project
from events.waiting import Line, Numbers
from services.supervisor.snapshots import Snapshot, dump_snapshot, load_snapshot
from support.scenario import Scenario, plan

FEW, MANY = 20, 20_000
ROUNDS = 200


class Model:
    """The same line as a plain list, at a cost that grows with it."""

    def __init__(self) -> None:
        self.line: list[tuple[str, str | None]] = []
        self.going_on: list[str] = []

    def first(self) -> str | None:
        return next((run_id for run_id, behind in self.line if behind is None), None)

    def leave(self, run_id: str) -> None:
        self.line = [(other, behind) for other, behind in self.line if other != run_id]

    def release(self, run_id: str) -> None:
        self.line = [(other, None if behind == run_id else behind) for other, behind in self.line]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("join", "follow", "begin", "end")), st.integers(0, 5))))
def test_a_line_is_what_a_list_would_be(steps: list[tuple[str, int]]) -> None:
    line, model = Line(), Model()
    for number, (step, choice) in enumerate(steps):
        known = [run_id for run_id, _ in model.line] + model.going_on
        chosen = known[choice % len(known)] if known else None
        if step in ("join", "follow"):
            behind = chosen if step == "follow" else None
            line = line.joined(f"run-{number}", behind)
            model.line.append((f"run-{number}", behind))
        elif step == "begin" and line.first is not None:
            model.going_on.append(line.first)
            model.leave(line.first)
            line = line.left_by(line.first)
        elif step == "end" and chosen is not None:
            line = line.left_by(chosen).released_by(chosen)
            model.leave(chosen)
            model.release(chosen)
            model.going_on = [run_id for run_id in model.going_on if run_id != chosen]
        assert tuple(line) == tuple(run_id for run_id, _ in model.line)
        assert (line.first, len(line)) == (model.first(), len(model.line))


@settings(deadline=None)
@given(st.sets(st.integers(0, 256**4 - 1), max_size=40))
def test_numbers_come_out_smallest_first_and_leave_nothing_behind(given_numbers: set[int]) -> None:
    numbers = Numbers()
    for number in given_numbers:
        numbers = numbers.added(number)
    for number in sorted(given_numbers):
        assert numbers.smallest == number
        numbers = numbers.without(number)
    assert numbers == Numbers()


def test_a_number_beyond_the_last_level_is_refused_and_not_lost() -> None:
    with pytest.raises(OverflowError):
        Numbers().added(256**4)


def crowd(waiting: int) -> Scenario:
    """A project in which one run goes on and so many wait, half of them for the end of that one."""
    project = Scenario(runs_at_once=1).started()
    body = plan()
    for number in range(waiting):
        run_id, follows = f"waits-{number}", "run-1" if number % 2 else None
        data = body.model_copy(update={"run_id": run_id, "follows": follows})
        project.project = evolve(project.project, project.event(data, run_id))
    return project


@pytest.fixture(scope="module")
def crowds() -> tuple[Scenario, Scenario]:
    return crowd(FEW), crowd(MANY)


def seconds(project: Project, submitted: Event, context: Context) -> float:
    """What it takes to decide, and to fold what follows."""
    began = perf_counter()
    assert outcome(project, submitted, context).events
    return perf_counter() - began


@pytest.mark.parametrize("what", ["a claim", "one more run", "a run in line is cancelled"])
def test_a_decision_costs_the_same_however_many_runs_wait(crowds: tuple[Scenario, Scenario], what: str) -> None:
    asked = []
    for project in crowds:
        said = {
            "a claim": (_claim(project), "run-1"),
            "one more run": (plan(run_id="new"), "new"),
            "a run in line is cancelled": (RunCancelRequested(), "waits-10"),
        }[what]
        event = Event(id="asked", source="/test", run_id=said[1], recorded_at=project.now, data=said[0])
        asked.append((project.project, event, Context(project.now, 1)))
    # In turns: whatever else the machine does meets both of them.
    rounds = [[seconds(*one) for one in asked] for _ in range(ROUNDS)]
    taken = [min(of_one) for of_one in zip(*rounds, strict=True)]
    assert taken[1] < 3 * taken[0], taken


def _claim(project: Scenario) -> WorkStarted:
    return WorkStarted(request_id=project.open("P1").id, instance="i", limit_seconds=60.0, replaces=None)


def test_a_snapshot_of_a_crowd_takes_its_plans_and_little_more(crowds: tuple[Scenario, Scenario]) -> None:
    sizes = []
    for project in crowds:
        state = PartitionState().projects.set("shop", project.project)
        snapshot = Snapshot(1, 0, b"", PartitionState(projects=state))
        data = dump_snapshot(snapshot)
        found = load_snapshot(data)
        assert found is not None
        assert found.state.project("shop") == project.project
        sizes.append(len(data))
    assert (sizes[1] - sizes[0]) / (MANY - FEW) < 2_000, sizes
