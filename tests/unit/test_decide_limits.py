"""The caps of a run, and numbers too large for an event."""

from time import process_time
from typing import Any

import pytest

from events.configuration import Configuration
from events.families.apply import ApplyRequested
from events.families.audit import AuditRequested
from events.families.budget import BudgetExceeded, BudgetKind
from events.families.build import BuildFailed, BuildRequested
from events.families.failure import FailureClass
from events.families.run import RunPromoted
from events.families.tier import TierCompleted
from events.families.time import DeadlineKind
from events.families.verify import ChecksRequested
from events.families.work import RevokeReason, WorkRevoked
from events.plan import MOST_PHASES
from events.states import RunState
from support.scenario import Scenario, commit, plan, used

TWO = [{"phase_id": "P1"}, {"phase_id": "P2"}]
SIDE_BY_SIDE = [{"phase_id": "P1", "depends_on": []}, {"phase_id": "P2", "depends_on": []}]


def test_more_tokens_than_the_run_may_use_end_it():
    run = Scenario().started(TWO, token_cap=100)
    names = run.built(usage=used(101))
    assert names[:2] == ["BuildSucceeded", "BudgetExceeded"]
    assert run.written(ApplyRequested) == []
    exceeded = run.last(BudgetExceeded)
    assert (exceeded.scope, exceeded.kind, exceeded.limit, exceeded.used) == ("run", BudgetKind.TOKENS, 100, 101)
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_a_budget_used_to_the_last_token_covers_what_was_done_with_it():
    run = Scenario().started(token_cap=100)
    run.built(usage=used(100))
    run.applied(1)
    run.green()
    run.landed()
    run.ended_as(RunState.DONE_SUCCESS)


def test_with_no_token_left_no_agent_is_asked():
    run = Scenario().started(TWO, token_cap=100)
    run.built(usage=used(100))
    run.applied(1)
    run.green()
    assert "BudgetExceeded" in run.landed()
    assert [b.phase_id for b in run.written(BuildRequested)] == ["P1"]
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_with_no_money_left_no_agent_is_asked():
    run = Scenario().started(TWO, max_cost_usd=1.0)
    run.built(usage=used(1, cost_usd=1.0))
    run.applied(1)
    run.green()
    run.landed()
    assert run.last(BudgetExceeded).kind is BudgetKind.COST
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_more_money_than_the_run_may_cost_ends_it():
    run = Scenario().started(max_cost_usd=1.0)
    run.built(usage=used(1, cost_usd=1.01))
    assert run.last(BudgetExceeded).kind is BudgetKind.COST
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_tokens_of_every_kind_count_once_and_reasoning_is_part_of_output():
    run = Scenario().started(token_cap=100)
    tokens = {"input": 20, "cached_input": 30, "cache_write": 10, "output": 40, "reasoning": 40}
    run.built(usage={"tokens": tokens})
    assert run.run.tokens_used == 100


def test_an_attempt_may_use_the_lesser_of_its_own_cap_and_what_the_run_has_left():
    run = Scenario().started(TWO, token_cap=600_000)
    assert run.asked().tokens_left == 500_000
    run.built(usage=used(400_000))
    run.applied(1)
    run.green()
    run.landed()
    assert run.asked("P2").tokens_left == 200_000


AUDITED = [{"phase_id": "P1", "task_category": "debt_cleanup"}]


def test_an_auditor_may_use_what_the_builder_of_its_attempt_has_left():
    run = Scenario().started(AUDITED)
    run.built(usage=used(150_000))
    assert run.asked().tokens_left == 250_000


def test_a_builder_that_leaves_nothing_to_its_auditor_ends_the_run():
    run = Scenario().started(AUDITED)
    run.built(usage=used(400_000))
    assert run.written(AuditRequested) == []
    assert (run.last(BudgetExceeded).scope, run.last(BudgetExceeded).limit) == ("phase", 400_000)
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_each_attempt_has_its_own_cap():
    run = Scenario().started(AUDITED)
    run.not_built(usage=used(399_000))
    run.built(usage=used(100_000))
    assert run.asked().tokens_left == 300_000


def test_what_an_earlier_attempt_reports_late_counts_against_its_own_cap():
    run = Scenario().started(AUDITED)
    run.claimed()
    late = run.answer(BuildFailed, failure=FailureClass.REVOKED, reason="killed", usage=used(399_000))
    run.passed(DeadlineKind.REQUEST)
    run.say(late)
    run.built(usage=used(100_000))
    assert run.asked().tokens_left == 300_000


# ---- tiers

CRITICAL = {"safety_profile": "safety_critical"}
DOCS = [{"phase_id": "P1", "task_category": "docs"}]


def spent_too_much(**changes: Any) -> Scenario:
    """Given a tier of one phase that used a token more than three attempts at it may."""
    run = Scenario().started(DOCS, **changes)
    run.built(usage=used(600_001))
    return run


def test_a_tier_that_used_too_many_tokens_is_not_clean_and_its_run_goes_on():
    run = spent_too_much()
    run.applied(1)
    run.green()
    run.landed()
    tier = run.last(TierCompleted)
    assert (tier.cleanliness, tier.token_limit_exceeded, tier.ci_run_limit_exceeded) == ("not_clean", True, False)
    run.ended_as(RunState.DONE_SUCCESS)
    assert "not clean" in run.refused(RunPromoted(branch="main", commit=commit(1))).message


def test_a_tier_that_used_too_many_tokens_ends_its_run_where_safety_is_critical():
    run = spent_too_much(**CRITICAL)
    exceeded = run.last(BudgetExceeded)
    assert (exceeded.scope, exceeded.kind, exceeded.limit) == ("tier", BudgetKind.TOKENS, 600_000)
    assert run.last(TierCompleted).token_limit_exceeded
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_a_tier_within_its_limits_is_clean():
    run = Scenario().started(DOCS, **CRITICAL)
    run.completed()
    tier = run.last(TierCompleted)
    assert (tier.cleanliness, tier.token_limit_exceeded, tier.ci_run_limit_exceeded) == ("clean", False, False)
    run.ended_as(RunState.DONE_SUCCESS)


def checked_three_times(**changes: Any) -> Scenario:
    """Given a phase whose third candidate waits for its checks: one round more than its tier may have."""
    run = Scenario().started(**changes)
    for number in (1, 2, 3):
        run.built()
        run.applied(number)
        if number < 3:
            run.red()
    return run


def test_a_tier_that_was_checked_too_often_is_not_clean():
    run = checked_three_times()
    run.green()
    run.landed()
    tier = run.last(TierCompleted)
    assert (tier.cleanliness, tier.ci_run_limit_exceeded, tier.ci_runs_used) == ("not_clean", True, 3)


def test_a_round_of_checks_too_many_is_not_asked_for_where_safety_is_critical():
    run = checked_three_times(**CRITICAL)
    assert len(run.written(ChecksRequested)) == 2
    assert (run.last(BudgetExceeded).scope, run.last(BudgetExceeded).kind) == ("tier", BudgetKind.CI_RUNS)
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_one_phase_too_many_ends_the_run():
    run = Scenario().started(TWO, max_phases=1)
    assert "BudgetExceeded" in run.completed()
    assert run.last(BudgetExceeded).kind is BudgetKind.PHASES
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_the_time_of_a_run_is_counted_from_its_preparation():
    run = Scenario()
    run.say(plan(max_duration_minutes=2))
    begun = run.now
    run.later(60)
    run.prepared()
    assert run.asked().seconds_left == 60
    assert (run.deadline(DeadlineKind.RUN).due_at - begun).total_seconds() == 120
    assert run.passed(DeadlineKind.RUN)[:2] == ["DeadlinePassed", "WorkRevoked"]
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_the_time_limit_of_a_run_revokes_what_is_open():
    run = Scenario().started(SIDE_BY_SIDE)
    run.claimed("P1")
    run.built("P2")
    run.passed(DeadlineKind.RUN)
    assert [w.reason for w in run.written(WorkRevoked)] == [RevokeReason.BUDGET] * 2
    run.passed(DeadlineKind.ENDING)
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_one_sibling_over_the_cap_stops_the_other():
    run = Scenario().started(SIDE_BY_SIDE, token_cap=100)
    run.claimed("P2")
    assert run.built("P1", usage=used(101))[:3] == ["BuildSucceeded", "BudgetExceeded", "WorkRevoked"]
    run.passed(DeadlineKind.ENDING)
    run.ended_as(RunState.DONE_FAILED_BUDGET_EXHAUSTED)


def test_a_count_of_tokens_beyond_all_bounds_ends_the_run_and_breaks_nothing():
    run = Scenario().started(token_cap=None)
    huge = 2**53 - 1
    run.built(usage={"tokens": {"input": huge, "cached_input": huge, "cache_write": huge, "output": huge}})
    run.applied(1)
    run.green()
    run.landed()
    assert run.ended_as(RunState.DONE_SUCCESS).tokens_used == huge


def test_checks_that_may_take_for_ever_do_not_break_their_request():
    forever = {"normal": [{"name": "slow", "argv": ["sleep"], "timeout_seconds": 9e8}]}
    run = Scenario().started(checks=forever)
    run.built()
    assert run.applied(1)[-1] == "ChecksRequested"
    assert 9e8 < run.asked().limit_seconds < 1e9


def test_checks_have_the_time_of_their_tries_and_of_the_preparation():
    configuration = Configuration.model_validate({"prepare": {"argv": ["make"], "timeout_seconds": 50}})
    checks = {"normal": [{"name": "tests", "argv": ["x"], "timeout_seconds": 100}]}
    run = Scenario().started(configuration=configuration, checks=checks)
    run.built()
    run.applied(1)
    assert run.asked().limit_seconds == 3 * (100 + 5) + 50 + 120
    assert run.asked().candidate == commit(1)


@pytest.mark.parametrize(("tokens", "seconds", "tries"), [(900, 0, 3), (901, 0, 1), (0, 107, 3), (0, 109, 1)])
def test_checks_have_one_try_where_less_than_a_tenth_of_tokens_or_time_is_left(
    tokens: int, seconds: int, tries: int
):
    checks = {"normal": [{"name": "tests", "argv": ["x"], "timeout_seconds": 100}]}
    run = Scenario().started(checks=checks, token_cap=1000, max_duration_minutes=2)
    run.built(usage=used(tokens))
    run.later(seconds)
    run.applied(1)
    assert (run.asked().tries, run.asked().limit_seconds) == (tries, tries * (100 + 5) + 120)


@pytest.mark.parametrize(("builder", "limit"), [(100, 150), (999_999_999, 999_999_999)])
def test_a_build_has_its_own_time_and_that_of_the_preparation_as_far_as_an_event_can_say(
    builder: float, limit: float
):
    settings = {
        "prepare": {"argv": ["make"], "timeout_seconds": 50},
        "ruleset": {"builder_limit_seconds": builder},
    }
    run = Scenario().started(configuration=Configuration.model_validate(settings))
    assert run.asked().limit_seconds == limit


def test_an_ending_run_waits_five_seconds_for_the_reports_of_what_it_stopped():
    run = Scenario().started()
    run.claimed()
    run.cancelled()
    assert (run.deadline(DeadlineKind.ENDING).due_at - run.now).total_seconds() == 5


@pytest.mark.parametrize("cap", ["token_cap", "max_cost_usd", "max_phases", "max_duration_minutes"])
def test_a_run_without_a_cap_goes_on_to_success(cap: str):
    run = Scenario().started(TWO, **{cap: None})
    run.completed("P1", 1)
    run.completed("P2", 2)
    run.ended_as(RunState.DONE_SUCCESS)


def test_the_largest_plan_whose_phases_all_begin_at_once_is_decided_in_a_moment():
    """Nothing else of its service runs meanwhile, not even the signs of life."""
    run = Scenario()
    run.say(plan([{"phase_id": f"P{n}", "depends_on": []} for n in range(MOST_PHASES)], max_phases=None))
    began = process_time()
    assert run.prepared().count("BuildRequested") == MOST_PHASES
    assert process_time() - began < 1.2
