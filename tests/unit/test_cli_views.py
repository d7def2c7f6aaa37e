"""What a person who watches sees: folded from the history, drawn, and told in lines."""

from datetime import timedelta

import pytest
from immutables import Map
from rich.console import Console

from events.codec import HistoryEvent, read_history
from events.families.failure import FailureClass
from events.history import chain
from services.cli.drawing import draw, thousands
from services.cli.following import Lines
from services.cli.outcome import outcome
from services.cli.run_view import RunView, fold, with_line
from services.cli.telling import clock, is_routine, is_setback, told
from support.scenario import MENDED, START, Scenario, used

TWO_PHASES = [{"phase_id": "P1"}, {"phase_id": "P2", "tier_id": "T2", "task_category": "docs"}]


def history_of(scenario: Scenario) -> list[HistoryEvent]:
    records, _ = chain(Map(), "shop", scenario.history)
    return [read_history(record.value) for record in records]


def view_of(scenario: Scenario) -> RunView:
    view = RunView()
    for event in history_of(scenario):
        view = fold(view, event)
    return view


def drawn(view: RunView, seconds: float = 65.0, width: int = 120) -> str:
    console = Console(width=width, force_terminal=False, no_color=True)
    with console.capture() as captured:
        console.print(draw(view, START + timedelta(seconds=seconds)))
    return captured.get()


def lines_of(scenario: Scenario, event_name: str) -> list[str]:
    events = [event for event in history_of(scenario) if type(event.event.data).__name__ == event_name]
    return told(events[-1], START)


def test_an_external_builders_attempt_counts_when_it_is_reported() -> None:
    scenario, seen = Scenario().started(agents={"builder": "external"}), []
    for report in (lambda: None, scenario.not_built, scenario.built):
        report()
        view = view_of(scenario)
        (phase,) = view.phases
        row = next(line for line in drawn(view).splitlines() if " P1 " in line)
        seen.append((view.attempts_at(phase), "/3" in row, outcome_of(view)))
    assert seen == [(0, False, "0 attempts"), (1, True, "1 attempts"), (2, True, "2 attempts")]


def outcome_of(view: RunView) -> str:
    return next(part for part in next(outcome(view, None)).split(", ") if part.endswith("attempts"))


def test_a_run_in_the_works_shows_what_each_phase_does() -> None:
    scenario = Scenario().started(TWO_PHASES, token_cap=100_000)
    scenario.later(5)
    scenario.claimed()
    shown = drawn(with_line(view_of(scenario), "P1", "reading cart.py"))
    headline, *rest = shown.splitlines()
    assert "run-1 in shop" in headline
    assert "PHASE_EXECUTION" in headline
    assert "01:05" in headline
    assert "0 of 2 phases" in headline
    assert "0 of 100k tokens" in headline
    first = next(line for line in rest if "P1" in line)
    assert "EXECUTING" in first
    assert "1/3" in first
    assert "reading cart.py" in first
    assert any("P2" in line and "QUEUED" in line for line in rest)
    assert [line.split()[0] for line in rest if line.startswith("T")] == ["T1", "T2"]


def test_a_finished_run_stands_still() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.later(2)
    scenario.built(usage=used(1234))
    scenario.applied(1)
    scenario.green()
    scenario.landed()
    view = view_of(scenario)
    assert view.ended
    assert drawn(view, 65) == drawn(view, 6500)
    assert "✓ P1" in drawn(view)
    assert "1,234" in drawn(view)
    assert "00:02" in drawn(view)


def test_a_failed_run_says_why_and_what_was_left_out() -> None:
    scenario = Scenario().started(TWO_PHASES)
    for _ in range(3):
        scenario.not_built(reason="the model fell asleep")
    view = view_of(scenario)
    assert "✗ P1" in drawn(view)
    assert "- P2" in drawn(view)
    text = "\n".join(outcome(view, "/runs/run-1"))
    assert text.startswith("DONE_FAILED_REQUIRES_HUMAN_REVIEW")
    assert "the model fell asleep" in text
    assert "autopack logs run-1" in text
    assert "branch" not in text


def test_a_successful_run_names_its_branch_and_files() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.completed()
    text = "\n".join(outcome(view_of(scenario), "/runs/run-1"))
    assert text.startswith("DONE_SUCCESS in 0.0 s: 1 of 1 phases, 1 attempts, at least 0 tokens, 1 CI runs")
    assert "autonomous/run-1" in text
    assert "/srv/shop.git" in text
    assert "/runs/run-1" in text


def test_tokens_that_nobody_reported_are_told_alike_everywhere() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.completed()
    first, *rest = drawn(view_of(scenario)).splitlines()
    assert "at least 0 of" in first
    assert any("P1" in line and "at least 0" in line for line in rest)


def test_events_that_were_seen_change_nothing() -> None:
    scenario = Scenario().started(TWO_PHASES)
    scenario.not_built()
    view = view_of(scenario)
    for event in history_of(scenario):
        assert fold(view, event) is view


def test_before_its_first_event_a_run_is_waited_for() -> None:
    assert "waiting" in drawn(RunView())


def test_text_of_agents_is_no_markup_and_stays_on_its_line() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    view = with_line(view_of(scenario), "P1", "[bold red]boo[/] " + "x" * 500)
    shown = drawn(view, width=100)
    assert "[bold red]boo[/]" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_nothing_that_an_agent_writes_steers_the_terminal() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    view = with_line(view_of(scenario), "P1", "\x1b[2J\x07\x9b\u202eboo")
    shown = drawn(view)
    assert "␛[2J␇" in shown
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    scenario.not_built(reason="\x1b]0;title\x07")
    assert "\x1b" not in "".join(lines_of(scenario, "BuildFailed"))


def test_every_violation_is_told() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.built()
    violations = [
        {"rule": "symlink", "path": "a", "message": "This is a symbolic link."},
        {"rule": "scope", "path": "b", "message": "Outside."},
    ]
    scenario.not_applied(FailureClass.VIOLATIONS, violations=violations)
    head, *rest = lines_of(scenario, "PatchRejected")
    assert "2 violations" in head
    assert [line.strip() for line in rest] == ["symlink a: This is a symbolic link.", "scope b: Outside."]


def test_findings_and_an_auditor_s_own_patch_are_told() -> None:
    scenario = Scenario().started([{"phase_id": "P1", "task_category": "schema_change"}])
    scenario.built()
    finding = {"severity": "major", "path": "a.py", "line": 3, "message": "wrong"}
    scenario.audited("revise", "P1", MENDED, findings=[finding])
    head, first, second = lines_of(scenario, "AuditCompleted")
    assert "revise" in head
    assert first.strip() == "major a.py:3: wrong"
    assert "a patch of its own" in second


@pytest.mark.parametrize(
    "closing",
    ["", "------\nRan 7 tests in 0.1s\n\nFAILED (failures=1)\n", "====== 1 failed, 6 passed in 0.10s ======\n"],
)
def test_red_checks_are_told_with_the_end_of_their_output(closing: str) -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.built()
    scenario.applied(1)
    checks = [
        {"name": "lint", "outcome": "passed"},
        {"name": "tests", "outcome": "failed", "exit_code": 1, "tries": 3, "output": "a\n\nb\nc\nd\n" + closing},
    ]
    scenario.red(checks=checks)
    _, *rest = lines_of(scenario, "ChecksFailed")
    assert [line.strip() for line in rest] == ["tests: failed (1), 3 tries", "b", "c", "d"]


def test_phases_that_one_end_skips_are_told_of_once() -> None:
    scenario = Scenario().started([{"phase_id": f"P{number}"} for number in range(1, 5)])
    scenario.cancelled()
    said: list[str] = []
    lines, view = Lines(said.append), RunView()
    for event in history_of(scenario):
        view = fold(view, event)
        lines.happened(event, view)
    assert sum("PhaseSkipped" in line for line in said) == 1
    assert "RunFailed" in said[-1]


def test_only_what_did_not_go_straight_on_is_a_setback() -> None:
    scenario = Scenario().started([{"phase_id": "P1", "task_category": "schema_change"}])
    scenario.built()
    scenario.audited("revise")
    scenario.built()
    scenario.audited("approve")
    scenario.applied(1)
    scenario.red()
    setbacks = [type(event.event.data).__name__ for event in history_of(scenario) if is_setback(event)]
    assert setbacks == ["AuditCompleted", "ChecksFailed"]


def test_routine_is_what_is_about_to_be_done() -> None:
    scenario = Scenario().started([{"phase_id": "P1"}])
    scenario.claimed()
    scenario.completed()
    told_of = [type(event.event.data).__name__ for event in history_of(scenario) if not is_routine(event)]
    assert "WorkStarted" not in told_of
    assert "ApplyRequested" not in told_of
    assert {"RunAccepted", "BuildSucceeded", "ChecksPassed", "SnapshotCreated", "RunCompleted"} <= set(told_of)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "00:00"), (0.9, "00:00"), (61, "01:01"), (3599, "59:59"), (3600, "1:00:00")]
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (9999, "9,999"), (10_000, "10k"), (5_000_000, "5,000k"), (2**53, "9,007,199,255M")],
)
def test_counts_of_tokens_are_short(count: int, shown: str) -> None:
    assert thousands(count) == shown
