"""The folds themselves, without a database: rows after every event, against what the decider knows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from events.codec import read_history
from events.families.base import Usage
from events.families.build import BuildFailed
from events.families.failure import FailureClass
from events.history import HistoryRecord, PartitionState, fold
from events.state import EndedRun, Run
from projections.attempts import ATTEMPTS
from projections.catalogue import PROJECTIONS
from projections.content_ids import content_id
from projections.database import definition
from projections.phases import PHASES, PhaseRow
from projections.projection import Entry, Key, Projection
from projections.run_files.pages import attempt_section
from projections.runs import RUNS, RunRow
from projections.summaries import LONGEST
from projections.tiers import TIERS, TierRow
from projections.timeline import TIMELINE
from support.histories import failure, random_history, recorded, success
from support.scenario import Scenario, used


class Folded:
    """One projection's rows, kept in memory."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._projection = projection
        self.rows: dict[Key, Any] = {}

    def take(self, entry: Entry) -> None:
        if type(entry.data) in self._projection.wanted:
            mine = {k: row for k, row in self.rows.items() if k[:2] == (entry.project, entry.run_id)}
            for row in self._projection.project(mine, entry):
                self.rows[self._projection.key_of(row)] = row


def entry_of(record: HistoryRecord, offset: int) -> Entry:
    read = read_history(record.value, record.type_name)
    return Entry(read.project, 0, offset, read.sequence, read.event)


def shown(run: RunRow, phases: list[PhaseRow], tiers: list[TierRow]) -> Any:
    return (
        run.state,
        (run.head_commit, run.base_commit, run.tokens_used, run.ci_runs_used, run.tokens_lower_bound),
        [(p.phase_id, p.state, p.tokens_used, p.builder_attempts, p.auditor_attempts, p.commit) for p in phases],
        [(t.tier_id, t.state, t.tokens_used, t.ci_runs_used) for t in tiers],
        [tuple(patch["digest"] for patch in p.patches) for p in phases],
    )


def decided(run: Run) -> Any:
    return (
        run.shown_state,
        (run.head, run.base_commit, run.tokens_used, run.ci_runs_used, run.usage_unknown),
        [(p.spec.phase_id, p.state, p.tokens_used, p.attempt, p.audits_in_all, p.commit) for p in run.phases],
        [(t.tier_id, t.state, t.tokens_used, t.ci_runs_used) for t in run.tiers],
        [tuple(patch.digest for patch in p.patches) for p in run.phases],
    )


@pytest.mark.parametrize("block", range(4))
def test_after_every_event_the_rows_show_what_the_decider_knows(block: int) -> None:
    for seed in range(block * 12, block * 12 + 12):
        runs, phases, tiers, state = Folded(RUNS), Folded(PHASES), Folded(TIERS), PartitionState()
        for offset, record in enumerate(random_history(seed, 300)):
            state = fold(state, record.value, record.type_name)
            entry = entry_of(record, offset)
            for projection in (runs, phases, tiers):
                projection.take(entry)
            key = (record.project, record.run_id)
            project = state.project(record.project)
            known: Run | EndedRun = project.runs.get(record.run_id) or project.ended[record.run_id]
            mine = [row for k, row in phases.rows.items() if k[:2] == key and row.state]
            steps = [row for k, row in tiers.rows.items() if k[:2] == key and row.state]
            row = runs.rows[key]
            if isinstance(known, Run):
                assert shown(row, mine, steps) == decided(known), (seed, offset, record.type_name)
            else:
                assert (row.state, row.head_commit) == (known.state, known.head), (seed, offset)


def test_the_row_of_a_run_names_few_of_its_phases_however_many_it_has() -> None:
    story, runs, named = Scenario(), Folded(RUNS), set[tuple[str, ...]]()
    story.started([{"phase_id": f"P{number}"} for number in range(1, 9)])
    for number in range(1, 5):
        story.completed(f"P{number}", number)
    for offset, record in enumerate(recorded(story)):
        runs.take(entry_of(record, offset))
        named.add(tuple(runs.rows["shop", "run-1"].progress))
    assert (max(map(len, named)), ("P1", "P4") in named) == (2, True)
    assert runs.rows["shop", "run-1"].phase_count == 8


def test_the_row_of_a_run_is_the_same_whether_or_not_it_was_read_back_between() -> None:
    story, kept, read_back = Scenario(), Folded(RUNS), Folded(RUNS)
    phases = ("checkout", "cart", "pay")
    story.started([{"phase_id": phase_id} for phase_id in phases])
    for number, phase_id in enumerate(phases, 1):
        story.completed(phase_id, number)
    for offset, record in enumerate(recorded(story)):
        for one in (kept, read_back):
            one.take(entry_of(record, offset))
        assert read_back.rows == kept.rows
        row = read_back.rows["shop", "run-1"]
        as_stored = {name: row.progress[name] for name in sorted(row.progress, key=lambda name: (len(name), name))}
        read_back.rows["shop", "run-1"] = replace(row, progress=as_stored)


def test_a_row_has_the_columns_of_its_table_and_no_others() -> None:
    for projection in PROJECTIONS:
        lines = definition(projection.name).partition("(\n")[2].partition("\n    PRIMARY KEY")[0].splitlines()
        columns = {line.split()[0] for line in lines}
        assert columns == set(projection.row.__struct_fields__), projection.name
        assert f"CREATE TABLE IF NOT EXISTS {projection.table} (" in definition(projection.name)


def test_ids_are_the_same_everywhere_and_are_exact_in_javascript() -> None:
    assert content_id("run", "shop", "run-1") == content_id("run", "shop", "run-1")
    assert content_id("run", "shop", "run-1") != content_id("run", "shop", "run-2")
    assert content_id("a", "bc") != content_id("ab", "c")
    assert all(0 <= content_id(str(n)) < 2**53 for n in range(1000))


def test_every_event_of_a_story_has_a_line_that_says_it() -> None:
    timeline = Folded(TIMELINE)
    for offset, record in enumerate([*recorded(success(), "a"), *recorded(failure(), "b")]):
        timeline.take(entry_of(record, offset))
    lines = [row.summary for row in timeline.rows.values()]
    assert all(0 < len(line) <= LONGEST and "\n" not in line for line in lines)
    assert "landed as 000000000000 after 3 attempts" in lines


def test_the_rows_of_a_run_that_succeeded_can_be_promoted_and_of_one_that_failed_cannot() -> None:
    runs = Folded(RUNS)
    for offset, record in enumerate([*recorded(success(), "good"), *recorded(failure(), "bad")]):
        runs.take(entry_of(record, offset))
    good, bad = runs.rows["shop", "good"], runs.rows["shop", "bad"]
    assert (good.state, good.promotable, good.debt_status) == ("DONE_SUCCESS", True, "clean")
    assert (bad.state, bad.promotable) == ("DONE_FAILED_POLICY_VIOLATION", False)
    assert bad.failure_reason == "phase P1: refused"
    assert bad.incident["phase_id"] == "P1"
    assert good.duration_seconds == 6.0
    assert good.created_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_attempt_has_used_what_all_who_worked_on_it_report() -> None:
    story, attempts, phases, seen = Scenario().started(), Folded(ATTEMPTS), Folded(PHASES), []
    story.claimed(instance="one")
    for instance in ("two", "three"):
        claim = story.open("P1").claim
        assert claim is not None
        story.claimed(instance=instance, replaces=claim.id)
    request = story.open("P1")
    late = story.answer(BuildFailed, failure=FailureClass.REVOKED, reason="replaced", usage=used(120, 0.5))
    unknown = late.model_copy(update={"usage": Usage(cost_usd=0.25, duration_seconds=2.0)})
    story.built(usage=used(100).model_copy(update={"duration_seconds": 3.0}))
    assert [len(story.refused(report).settles) for report in (late, unknown)] == [1, 1]
    for offset, record in enumerate(recorded(story)):
        for projection in (attempts, phases):
            projection.take(entry_of(record, offset))
        row, phase = attempts.rows.get(("shop", "run-1", request.id)), phases.rows["shop", "run-1", "P1"]
        if row is not None:
            known = (row.tokens_used, row.tokens_lower_bound, row.cost_usd or 0.0)
            assert known == (phase.tokens_used, phase.tokens_lower_bound, phase.cost_usd)
            seen.append((row.tokens and row.tokens["output"], row.cost_usd, row.duration_seconds))
    assert list(dict.fromkeys(seen)) == [
        (None, None, None),
        (100, None, 3.0),
        (220, 0.5, 3.0),
        (220, 0.75, 5.0),
    ]
    assert "- **Tokens:** at least 220" in attempt_section(row)
