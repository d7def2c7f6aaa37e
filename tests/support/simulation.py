"""A project driven by a tape of bytes: emitters, workers and a clock that do what can go wrong.

A tape is a script. Every choice takes the next byte, so a shorter tape is a shorter story, and the tape that
broke a rule tells the story again. When it is at its end, timers alone must bring every run to an end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

import orjson

from events.catalogue import AnyEventData
from events.decide import Context, decide
from events.decide.deadlines import deadlines, earliest_deadline, turn
from events.decide.verdicts import Rejection
from events.event import Event
from events.evolve import evolve
from events.families.apply import PatchAccepted
from events.families.issue import IssueReported
from events.families.phase import PhaseOverrideRequested
from events.families.run import (
    PrepareRequested,
    RunAccepted,
    RunCancelRequested,
    RunPromoted,
    RunRequested,
)
from events.families.time import DeadlineKind, DeadlinePassed
from events.families.verify import CheckOutcome, CheckResult
from events.families.work import WorkStarted
from events.history import Heads, HistoryRecord, PartitionState, chain, fold
from events.state import OpenRequest, Project, RequestKind, Run
from events.states import PhaseState
from support.ledger import REQUESTS, Ledger, demand
from support.scenario import BASE, CHECKS, START
from support.simulated_workers import Tape, Workers

T = TypeVar("T")

DECIDED_TWICE_EVERY = 3
"""Deciding is most of what a story costs; what stands at these places differs from story to story."""
LONGEST_DRAIN = 1000
MOST_RUNS = 3
PROJECT = "shop"
CATEGORIES = (None, "docs", "debt_cleanup", "bulk_operation", "schema_change", "cross_cutting_refactor")
AGENTS: tuple[dict[str, str], ...] = (
    {},
    {},
    {},
    {},
    {"builder": "external"},
    {"builder": "external", "auditor": "external"},
)


@dataclass
class World:
    """One project and all that happens to it. The functions under test can be replaced by sabotaged ones.

    `planned` may change each plan, so that a rare story is told often.
    """

    tape: Tape
    decide: Callable[[Project, Event, Context], list[Event] | Rejection] = decide
    evolve: Callable[[Project, Event], Project] = evolve
    chain: Callable[..., tuple[list[HistoryRecord], Heads]] = chain
    planned: Callable[[dict[str, Any]], dict[str, Any]] = dict
    now: datetime = START
    project: Project = field(default_factory=lambda: Project(PROJECT))
    partition: PartitionState = field(default_factory=PartitionState)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    chained: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: dict[str, tuple[str, Any]] = field(default_factory=dict)
    submitted: list[Event] = field(default_factory=list)
    runs: int = 0
    count: int = 0
    runs_at_once: int | None = None

    @cached_property
    def workers(self) -> Workers:
        return Workers(self.tape)

    # ---- one step, and what must hold after it

    def submit(self, data: AnyEventData, run_id: str) -> None:
        self.count += 1
        self.redeliver(Event(f"e{self.count}", "/world", run_id, self.now, data))

    def redeliver(self, event: Event) -> None:
        context = Context(self.now, self.runs_at_once)
        decision, records, written = self._decided(event, context)
        if len(self.submitted) % DECIDED_TWICE_EVERY == 0:
            again, repeated, _ = self._decided(event, context)
            same = records == repeated and decision == again
            demand(same, "deciding_twice_gives_the_same", f"{event.id} {type(event.data).__name__}")
        begun = [one.run_id for one in written if _begins(one.data)]
        demand(len(begun) <= 1, "one_run_begins_a_step", f"{begun} begin at once")
        for one, record in zip(written, records, strict=True):
            self._write(one, record)
        self.submitted.append(event)
        if written:
            self._hold_at_rest()

    def _decided(
        self, event: Event, context: Context
    ) -> tuple[list[Event] | Rejection, list[HistoryRecord], list[Event]]:
        """What is decided on a submission, the records that follow from it, and their events."""
        decision = self.decide(self.project, event, context)
        written = decision if isinstance(decision, list) else list(decision.settles)
        records, _ = self.chain(self.partition.heads, PROJECT, written)
        return decision, records, written

    def _write(self, event: Event, record: HistoryRecord) -> None:
        self._link(record)
        self.ledgers.setdefault(event.run_id, Ledger(event.run_id)).observe(event)
        if isinstance(event.data, REQUESTS):
            self.asked[event.id] = (event.run_id, event.data)
        self.project = self.evolve(self.project, event)
        self.partition = fold(self.partition, record.value, record.type_name)

    def _link(self, record: HistoryRecord) -> None:
        raw = orjson.loads(record.value)
        sequence, prevhash = self.chained.get(record.run_id, (0, "0" * 64))
        fits = (raw["sequence"], raw["prevhash"]) == (sequence, prevhash)
        demand(fits, "chain_unbroken", f"record {raw['sequence']}, expected {sequence}")
        self.chained[record.run_id] = (sequence + 1, sha256(record.value).hexdigest())

    def _hold_at_rest(self) -> None:
        folded = self.partition.project(PROJECT)
        demand(folded == self.project, "fold_equals_live", "the stored bytes tell another story")
        demand(not self.partition.quarantined, "chain_unbroken", str(self.partition.quarantined))
        for run in self.project.runs.values():
            demand(not self._stuck(run), "no_stuck_run", f"{run.run_id} waits for nothing")

    def _stuck(self, run: Run) -> bool:
        if run.run_id in self.project.line:
            full = self.runs_at_once is not None and self.project.started_runs >= self.runs_at_once
            may_begin = not full and run.request.follows not in self.project.runs
            return may_begin and turn(self.project, self.runs_at_once) is None
        if run.ending is not None:
            return not deadlines(run)
        only_tracks = run.accepted and not run.phases
        return not only_tracks and not any(r.stands for r in run.open.values())

    # ---- the story

    def play(self) -> None:
        """The whole tape, then timers until every run has ended."""
        self.runs_at_once = self.tape.of((None, None, 1, 2))
        self.new_run()
        while not self.tape.ended:
            if self.project.runs or self.runs == MOST_RUNS:
                self.tape.of(_ACTIONS)(self)
            else:
                self.new_run()
        self.drain()

    def drain(self) -> None:
        for _ in range(LONGEST_DRAIN):
            if not self.project.runs:
                return
            deadline = earliest_deadline(self.project, self.runs_at_once)
            if deadline is not None:
                self.now = max(self.now, deadline.due_at)
                data = DeadlinePassed(kind=deadline.kind, request_id=deadline.request_id, due_at=deadline.due_at)
                self.submit(data, deadline.run_id)
            else:
                self._end_the_endless()
        demand(False, "every_run_ends", f"{list(self.project.runs)} go on for ever")

    def _end_the_endless(self) -> None:
        """Where nobody set a time limit, workers fail to answer, and an operator has to end what is external."""
        for run in self.project.runs.values():
            claimable = [r for r in run.open.values() if r.stands and not r.claim and not r.external]
            claimable = [r for r in claimable if r.kind is not RequestKind.INTEGRATION]
            if claimable:
                return self.claim_of(run, claimable[0], None)
            if run.request.max_duration_minutes is None and run.ending is None:
                return self.submit(RunCancelRequested(), run.run_id)
        demand(False, "every_run_ends", f"{list(self.project.runs)} have no deadline")
        return None

    def new_run(self) -> None:
        if self.runs < MOST_RUNS:
            self.runs += 1
        run_id = f"run-{self.runs}"
        self.submit(self._plan(run_id), run_id)

    def _plan(self, run_id: str) -> RunRequested:
        of = self.tape.of
        tiers = of((1, 1, 2))
        agents = of(AGENTS)
        external = "builder" in agents
        single = of((False, False, False, True))
        return RunRequested.model_validate(
            self.planned(
                {
                    "run_id": run_id,
                    "repository": of(("/srv/shop.git", "/srv/shop.git", None)) if external else "/srv/shop.git",
                    "safety_profile": of(("normal", "normal", "normal", "safety_critical")),
                    "checks": of((*(CHECKS,) * 8, *("none",) * 3, None)),
                    "agents": agents,
                    "token_cap": of((5_000_000, None, None, None, 240)),
                    "max_cost_usd": of((*(None,) * 5, 1.0)),
                    "max_phases": of((25, None, None, None, 1)),
                    "max_duration_minutes": of((120, None, 120, None, 5)),
                    "follows": of((None, None, f"run-{self.runs - 1}", "run-1")) if self.runs > 1 else None,
                    "run_scope": "single_tier" if single else "multi_tier",
                    "tier": f"T{tiers - 1}" if single else None,
                    "tiers": [{"tier_id": f"T{t}", "tier_index": t, "name": "tier"} for t in range(tiers)],
                    "phases": self._phases(tiers),
                }
            )
        )

    def _phases(self, tiers: int) -> list[dict[str, Any]]:
        of = self.tape.of
        phases: list[dict[str, Any]] = []
        for index in range(of((2, 1, 3, 4))):
            tier = index % tiers
            same = [p["phase_id"] for p in phases if p["tier_id"] == f"T{tier}"]
            phases.append(
                {
                    "phase_id": f"P{index}",
                    "tier_id": f"T{tier}",
                    "phase_index": index,
                    "name": "phase",
                    "task_category": of(CATEGORIES),
                    "depends_on": of((None, [], [], same[:1])),
                }
            )
        return phases

    def some_run(self) -> Run | None:
        runs = sorted(self.project.runs)
        return self.project.runs[self.tape.of(runs)] if runs else None

    def some_request(self) -> tuple[Run, OpenRequest] | None:
        run = self.some_run()
        requests = run.requests if run else []
        return (run, self.tape.of(requests)) if run and requests else None

    def succeed(self) -> None:
        found = self.some_request()
        if found is not None:
            run, request = found
            self.submit(self.workers.success(request.id, self.asked[request.id][1], self.count), run.run_id)

    def succeed_everywhere(self) -> None:
        """Every open request of a run is answered well: the straight way to the end."""
        run = self.some_run()
        for request in run.requests if run else []:
            if run and run.run_id in self.project.runs:
                self.submit(self.workers.success(request.id, self.asked[request.id][1], self.count), run.run_id)

    def fail(self) -> None:
        found = self.some_request()
        if found is not None:
            run, request = found
            spared = request.kind is RequestKind.PREPARE and self.tape.below(4)
            make = self.workers.success if spared else self.workers.failure
            self.submit(make(request.id, self.asked[request.id][1], self.count), run.run_id)

    def claim(self) -> None:
        found = self.some_request()
        if found is not None:
            run, request = found
            standing = request.claim.id if request.claim else None
            self.claim_of(run, request, self.tape.of((standing, None, "another")))

    def claim_of(self, run: Run, request: OpenRequest, replaces: str | None) -> None:
        limit_seconds = self.tape.of((60.0, 1.0, 600.0))
        data = WorkStarted(
            request_id=request.id, instance="worker", limit_seconds=limit_seconds, replaces=replaces
        )
        self.submit(data, run.run_id)

    def repeat(self) -> None:
        self.redeliver(self.submitted[-1 - self.tape.below(min(len(self.submitted), 12))])

    def answer_late(self) -> None:
        """An answer to any request there ever was, in a run that may long be over."""
        if self.asked:
            request_id = self.tape.of(list(self.asked))
            run_id, data = self.asked[request_id]
            make = self.tape.of((self.workers.success, self.workers.failure))
            self.submit(make(request_id, data, self.count), run_id)

    def answer_wrongly(self) -> None:
        found = self.some_request()
        if found is None:
            return
        run, request = found
        answer = self.workers.success(request.id, self.asked[request.id][1], self.count)
        spoils: tuple[dict[str, Any], ...] = (
            {"attempt": request.attempt + 1},
            {"phase_id": "P9"},
            {"candidate": "f" * 40},
            {"parent": "f" * 40},
            {"tree": "f" * 40},
            {"commit": "f" * 40},
            {"tag": "another"},
            {"unchecked": not getattr(answer, "unchecked", False)},
            {"checks": ()},
            {"checks": tuple(_red(check) for check in getattr(answer, "checks", ()))},
            {"request_id": self.tape.of(list(self.asked))},
        )
        spoil = {k: v for k, v in self.tape.of(spoils).items() if k in type(answer).model_fields}
        if spoil and not (isinstance(answer, PatchAccepted) and spoil.keys() & {"candidate", "tree"}):
            self.submit(answer.model_copy(update=spoil), run.run_id)

    def cancel(self) -> None:
        run_id = f"run-{1 + self.tape.below(MOST_RUNS)}"
        self.submit(RunCancelRequested(), run_id)

    def wait(self) -> None:
        self.now += timedelta(seconds=self.tape.of((1, 5, 31, 61, 200, 3601)))

    def time_out(self) -> None:
        self._deadline(early=False)

    def time_out_early(self) -> None:
        self._deadline(early=True)

    def _deadline(self, early: bool) -> None:
        deadline = earliest_deadline(self.project, self.runs_at_once)
        if deadline is not None and deadline.kind is DeadlineKind.RUN and self.tape.below(4):
            return
        if deadline is not None:
            self.now = self.now if early else max(self.now, deadline.due_at)
            data = DeadlinePassed(kind=deadline.kind, request_id=deadline.request_id, due_at=self.now)
            self.submit(data, deadline.run_id)

    def meddle(self) -> None:
        """What emitters may say at any time, and what they may not."""
        odd: tuple[AnyEventData, ...] = (
            RunPromoted(branch="main", commit=BASE),
            IssueReported(phase_id="P0", issue_key="k", severity="minor", source="test"),
            PhaseOverrideRequested(phase_id="P0", state=PhaseState.COMPLETE),
            WorkStarted(request_id="none", instance="worker", limit_seconds=1),
            PrepareRequested(repository="/elsewhere", base=None, limit_seconds=1),
        )
        self.submit(self.tape.of(odd), f"run-{1 + self.tape.below(MOST_RUNS)}")

    def promote(self) -> None:
        """Somebody takes over what a run ended with, however it ended."""
        ended = sorted(self.project.ended)
        run_id = self.tape.of(ended) if ended else "run-1"
        head = self.project.ended[run_id].head if ended else None
        self.submit(RunPromoted(branch="main", commit=head or BASE), run_id)


def _red(check: CheckResult) -> CheckResult:
    return check.model_copy(update={"outcome": CheckOutcome.FAILED})


def _begins(data: AnyEventData) -> bool:
    """Whether a run that waited in line begins with this."""
    return isinstance(data, PrepareRequested) or (isinstance(data, RunAccepted) and data.base_commit is None)


_ACTIONS: tuple[Callable[[World], None], ...] = (
    *(World.succeed,) * 12,
    *(World.succeed_everywhere,) * 8,
    *(World.claim,) * 4,
    *(World.fail,) * 3,
    *(World.repeat,) * 2,
    *(World.answer_late,) * 3,
    *(World.answer_wrongly,) * 2,
    World.time_out,
    World.time_out_early,
    World.wait,
    World.meddle,
    World.promote,
    World.new_run,
    World.cancel,
)
