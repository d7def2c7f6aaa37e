"""The checker is checked: for each invariant a sabotaged decider, which it must catch and name."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import import_module
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

import events.decide as decider
import events.decide.admission as admission
import events.decide.attempts as attempts
import events.decide.deadlines as deadlines
import events.decide.endings as endings
import events.evolve as fold
import events.evolve.run as evolve_run
from events.catalogue import AnyEventData
from events.decide import SOURCE, Context, decide
from events.decide.queue import next_in_line
from events.decide.step import Step
from events.decide.verdicts import Reason, Rejection
from events.event import Event
from events.evolve import evolve
from events.families.budget import BudgetSettled
from events.families.build import BuildSucceeded
from events.families.run import RunCompleted
from events.families.work import WorkStarted
from events.history import Heads, HistoryRecord, chain
from events.state import Phase, Project, Run
from support import ledger, simulation
from support.ledger import InvariantBroken
from support.scenario import CHECKS
from support.simulated_workers import Tape
from support.simulation import World

SEED = 20_260_101
TRIES = 3000

Decision = list[Event] | Rejection
Saboteur = Callable[[pytest.MonkeyPatch], dict[str, Any]]


def caught(sabotage: dict[str, Any]) -> str:
    """The invariant that breaks first in a world with sabotaged parts."""
    random = Random(SEED)
    for number in range(TRIES):
        script = random.randbytes(random.randint(24, 160))
        try:
            World(Tape(script), **sabotage).play()
        except InvariantBroken as broken:
            print(f"seed {SEED}, script {number}: {script.hex()}: {broken}")
            return broken.name
    return "nothing"


def answers_twice(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def sabotaged(project: Project, submitted: Event, context: Context) -> Decision:
        decision = decide(project, submitted, context)
        again = isinstance(decision, Rejection) and decision.reason is Reason.ALREADY_ANSWERED
        return [submitted] if again and not isinstance(submitted.data, WorkStarted) else decision

    return {"decide": sabotaged}


def integrates_without_checks(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    towards = attempts._towards_the_branch

    def sabotaged(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
        candidate = phase.candidate
        believed = replace(candidate, checked=True) if candidate else None
        return towards(run, replace(phase, candidate=believed), now)

    patch.setattr(attempts, "_towards_the_branch", sabotaged)
    return {}


def integrates_an_old_candidate(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Green once is taken for green for ever, on whatever commit."""
    towards = attempts._towards_the_branch

    def sabotaged(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
        seen_green = phase.candidate is not None and (phase.candidate.checked or run.ci_runs_used > 0)
        believed = replace(phase.candidate, checked=seen_green) if phase.candidate else None
        return towards(run, replace(phase, candidate=believed), now)

    patch.setattr(attempts, "_towards_the_branch", sabotaged)
    return {}


def takes_anything_for_green(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(admission, "_not_green", lambda run, phase, data: None)
    return {}


def takes_any_snapshot(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(admission, "_other_snapshot", lambda run, phase, data: None)
    return {}


def promotes_anything(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(fold, "_obstacle", lambda run, state: None)
    return {}


def checks_for_ever(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The limit is two rounds a phase: it takes three attempts at the only one of a tier."""
    patch.setattr(attempts, "tier_checks_limit_passed", lambda run, tier_id: iter(()))
    unlimited = {"token_cap": None, "max_cost_usd": None, "max_phases": None, "max_duration_minutes": None}

    def planned(body: dict[str, Any]) -> dict[str, Any]:
        phases = [phase | {"task_category": "feature_scaffolding"} for phase in body["phases"][:1]]
        return body | unlimited | {"safety_profile": "safety_critical", "checks": CHECKS, "phases": phases}

    return {"planned": planned}


def builds_for_ever(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    after = attempts._after_setback

    def sabotaged(run: Run, phase: Phase, setback: Any, now: Any) -> Iterator[AnyEventData]:
        patient = replace(phase, strategy=phase.strategy.model_copy(update={"builder_attempts": 99}))
        return after(run, patient, setback, now)

    patch.setattr(attempts, "_after_setback", sabotaged)
    return {}


def audits_for_ever(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(attempts, "_audits_on_head", lambda run, phase: 0)
    return {}


def goes_on_after_the_end(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def sabotaged(project: Project, submitted: Event, context: Context) -> Decision:
        decision = decide(project, submitted, context)
        ended = isinstance(decision, Rejection) and decision.reason is Reason.RUN_ENDED
        return [submitted] if ended else decision

    return {"decide": sabotaged}


def sleeps_through_deadlines(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(evolve_run, "_deadline", lambda run, event, data: run)
    return {}


def forgets_usage(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The live state forgets what the stored bytes still tell."""

    def sabotaged(project: Project, event: Event) -> Project:
        project = evolve(project, event)
        run = project.runs.get(event.run_id)
        if run is None or not run.tokens_used:
            return project
        return replace(project, runs=project.runs.set(run.run_id, replace(run, tokens_used=0)))

    return {"evolve": sabotaged}


def throws_dice(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    dice = count()

    def sabotaged(project: Project, submitted: Event, context: Context) -> Decision:
        decision = decide(project, submitted, context)
        if isinstance(decision, Rejection):
            return decision
        return [e if e.source != SOURCE else replace(e, id=f"dice-{next(dice)}") for e in decision]

    return {"decide": sabotaged}


def forgets_the_next_attempt(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(attempts, "_after_setback", lambda run, phase, setback, now: iter(()))
    return {}


def lets_no_turn_come(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Where several may begin at once, nobody says so to those that the step left in line."""
    patch.setattr(deadlines, "next_in_line", lambda project, runs_at_once: None)
    return {"planned": follows_the_first}


def begins_all_that_wait(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    follow = decider._follow

    def sabotaged(step: Step, run_id: str, context: Context) -> list[Event]:
        while next_in_line(follow(step, run_id, context) and step.project, context.runs_at_once) is not None:
            pass
        return step.events

    patch.setattr(decider, "_follow", sabotaged)
    return {"planned": follows_the_first}


def follows_the_first(body: dict[str, Any]) -> dict[str, Any]:
    """All other runs may begin as soon as the first one has ended."""
    return body if body["run_id"] == "run-1" else body | {"follows": "run-1"}


def completes_without_a_snapshot(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def sabotaged(run: Run, phase: Phase, candidate: Any) -> AnyEventData:
        return endings.phase_completed(replace(phase, commit=candidate.commit))

    patch.setattr(attempts, "_integration", sabotaged)
    return {}


def integrates_side_by_side(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    towards = attempts._towards_the_branch

    def sabotaged(run: Run, phase: Phase, now: datetime) -> Iterator[AnyEventData]:
        return towards(replace(run, open=run.open.__class__()), phase, now)

    patch.setattr(attempts, "_towards_the_branch", sabotaged)
    return {}


def needs_no_approval(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(attempts, "_needs_approval", lambda run, phase: False)
    return {}


def takes_any_approval(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An approval of another head or other patches is taken for one of these."""
    needs = attempts._needs_approval

    def sabotaged(run: Run, phase: Phase) -> bool:
        return phase.approval is None and needs(run, phase)

    patch.setattr(attempts, "_needs_approval", sabotaged)
    return {}


def skips_a_number(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def sabotaged(heads: Heads, project: str, written: list[Event]) -> tuple[list[HistoryRecord], Heads]:
        return chain(after_a_gap(heads), project, written)

    def after_a_gap(heads: Heads) -> Heads:
        return type(heads)({key: replace(head, sequence=head.sequence + 1) for key, head in heads.items()})

    return {"chain": sabotaged}


def settles_again(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def sabotaged(project: Project, submitted: Event, context: Context) -> Decision:
        decision = decide(project, submitted, context)
        data = submitted.data
        if not isinstance(decision, Rejection) or decision.reason is not Reason.ALREADY_ANSWERED:
            return decision
        if not isinstance(data, BuildSucceeded) or data.usage.tokens is None:
            return decision
        settled = BudgetSettled(request_id=data.request_id, phase_id=data.phase_id, usage=data.usage)
        return replace(decision, settles=(replace(submitted, id=f"{submitted.id}-again", data=settled),))

    return {"decide": sabotaged}


def starts_phases_at_once(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(evolve_run, "dependencies", lambda request: {p.phase_id: () for p in request.phases})
    return {}


def succeeds_too_soon(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    def sabotaged(run: Run) -> Iterator[AnyEventData]:
        if run.tokens_used:
            yield RunCompleted(
                head_commit=run.head,
                tokens_used=run.tokens_used,
                tokens_are_lower_bound=False,
                ci_runs_used=0,
            )

    # The package hides the module behind its function of the same name.
    patch.setattr(import_module("events.decide.due"), "_completed", sabotaged)
    return {}


SABOTAGE: list[tuple[Saboteur, str]] = [
    (answers_twice, "one_answer_per_request"),
    (integrates_without_checks, "green_before_integration"),
    (integrates_an_old_candidate, "green_before_integration"),
    (takes_anything_for_green, "green_before_integration"),
    (takes_any_snapshot, "green_before_integration"),
    (promotes_anything, "promoted_as_it_ended"),
    (checks_for_ever, "tier_within_limits"),
    (builds_for_ever, "attempts_within_limits"),
    (audits_for_ever, "attempts_within_limits"),
    (goes_on_after_the_end, "nothing_after_the_end"),
    (sleeps_through_deadlines, "every_run_ends"),
    (forgets_usage, "fold_equals_live"),
    (throws_dice, "deciding_twice_gives_the_same"),
    (forgets_the_next_attempt, "no_stuck_run"),
    (lets_no_turn_come, "no_stuck_run"),
    (begins_all_that_wait, "one_run_begins_a_step"),
    (completes_without_a_snapshot, "completed_after_snapshot"),
    (integrates_side_by_side, "one_integration_at_once"),
    (needs_no_approval, "approved_before_integration"),
    (takes_any_approval, "approved_before_integration"),
    (skips_a_number, "chain_unbroken"),
    (settles_again, "usage_adds_up"),
    (starts_phases_at_once, "dependencies_first"),
    (succeeds_too_soon, "success_means_complete"),
]


def test_every_invariant_that_is_checked_has_a_saboteur():
    checkers = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (ledger, simulation)]
    named = {name for text in checkers for name in re.findall(r'demand\([^"]*"(\w+)"', text)}
    assert named == {invariant for _, invariant in SABOTAGE}


@pytest.mark.parametrize(("saboteur", "invariant"), SABOTAGE, ids=[s.__name__ for s, _ in SABOTAGE])
def test_a_sabotaged_decider_is_caught_by_the_invariant_that_it_breaks(
    saboteur: Saboteur, invariant: str, monkeypatch: pytest.MonkeyPatch
):
    assert caught(saboteur(monkeypatch)) == invariant


def test_the_honest_decider_is_not_accused():
    random = Random(SEED)
    for _ in range(50):
        World(Tape(random.randbytes(random.randint(24, 160)))).play()


def test_the_stories_are_rich_enough_to_be_worth_telling():
    """Successes, failures of every kind, promotions and late usage all come up."""
    random = Random(SEED)
    names: set[str] = set()
    states: set[str] = set()
    for _ in range(200):
        world = World(Tape(random.randbytes(random.randint(24, 160))))
        world.play()
        names |= {type(data).__name__ for _, data in world.asked.values()}
        states |= {ended.state for ended in world.project.ended.values()}
        names |= {"settled" for ledger in world.ledgers.values() if ledger.settled}
        names |= {"promoted" for ended in world.project.ended.values() if ended.promotions}
        names |= {
            "second attempt" for ledger in world.ledgers.values() if max(ledger.attempts.values(), default=0) > 1
        }
    assert len(states) == 6
    assert {"IntegrationRequested", "settled", "promoted", "second attempt"} <= names
