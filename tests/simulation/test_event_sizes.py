"""Whatever plans, repositories and workers write, and in whatever letters, no event becomes too large."""

import os
from itertools import cycle, islice
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.configuration import Configuration
from events.decide.verdicts import Reason, Rejection
from events.event import Event
from events.families.apply import ApplyRequested, PatchAccepted, PatchRejected
from events.families.audit import AuditCompleted, AuditFailed, AuditRequested
from events.families.build import BuildFailed, BuildRequested, BuildSucceeded
from events.families.failure import FailureClass
from events.families.run import RunCancelRequested, RunPrepared
from events.families.verify import ChecksFailed, ChecksRequested
from events.state import Project
from support.scenario import BASE, PATCH, Scenario, commit, plan

CASES = 600 if os.environ.get("AUTOPACK_TEST_REQUIRE") == "all" else 40
STEPS = 40
LONGEST_PROJECT = "p" * 100
LETTERS = st.sampled_from('aä漢😀\x01"\\\n\x7f\u2028')
FAILURES = st.sampled_from([FailureClass.EXIT_CODE, FailureClass.NO_CHANGE, FailureClass.VIOLATIONS])


def text(longest: int) -> st.SearchStrategy[str]:
    """Text of one kind of letter, often as long as may be."""
    lengths = st.sampled_from([0, 1, longest // 10, longest // 3, longest // 2, longest])
    return st.builds(lambda letter, length: letter * length, LETTERS, lengths)


def many(item: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    """A few things, or one thing very often."""
    return st.lists(item, max_size=3) | st.builds(lambda one, count: [one] * count, item, st.integers(0, most))


def table(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(keys)


CHECKS = many(table(name=text(400), argv=st.builds(lambda word: [word], text(4000))), 5)
PHASES = table(
    name=text(4000),
    description=text(20_000),
    task_category=st.sampled_from(["docs", "security_auth", "schema_change"]) | text(4000),
    scope=st.none() | many(text(4096), 10),
    allow=many(text(400), 20),
    depends_on=st.just([]),
)
PLANS = table(
    phases=st.lists(PHASES, min_size=1, max_size=3),
    repository=text(4096).map(lambda name: f"/{name[1:]}"),
    agents=table(builder=st.none() | text(4000).filter(lambda name: name != "external"), auditor=st.none()),
    checks=table(normal=CHECKS, strict=st.just([])),
)
CONFIGURATIONS = table(
    prepare=st.none() | table(argv=st.just(["make"]), paths=many(text(4096), 5)),
    policy=table(protected=many(text(4096), 12)),
    checks=table(
        normal=st.just([{"name": "own", "argv": ["true"]}]), strict=st.just([{"name": "all", "argv": ["true"]}])
    ),
    ruleset=table(
        categories=table(
            docs=table(builder_attempts=st.just(20), auditor_profile=text(4000), audit_required=st.booleans())
        )
    ),
)
TOLD = table(
    reason=text(4000),
    patches=st.integers(0, 300),
    probes=many(table(name=text(400), output=text(4000)), 20),
    findings=many(table(message=text(4000), path=text(4096)), 40),
    violations=many(table(rule=text(400), message=text(4000)), 40),
    concerns=many(table(kind=text(400), message=text(4000)), 40),
    outputs=many(text(4000), 30),
    failure=FAILURES,
    goes_well=st.booleans(),
    recommendation=st.sampled_from(["approve", "revise"]),
)


@settings(
    max_examples=CASES, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
)
@given(asked=PLANS, configuration=CONFIGURATIONS, told=st.lists(TOLD, min_size=1, max_size=4))
def test_no_event_but_a_plan_is_larger_than_an_event_may_be(
    asked: dict[str, Any], configuration: dict[str, Any], told: list[dict[str, Any]]
) -> None:
    run = Scenario(Project(LONGEST_PROJECT))
    phases = [{"phase_id": f"P{number}", **phase} for number, phase in enumerate(asked["phases"])]
    changes = {key: value for key, value in asked.items() if key != "phases"} | {"project": LONGEST_PROJECT}
    if refused(run.submit(run.event(plan(phases, **changes))), Reason.INVALID_PLAN):
        return
    prepared = RunPrepared(
        request_id=run.open(None).id,
        base_commit=BASE,
        configuration=Configuration.model_validate(configuration),
    )
    if not refused(run.submit(run.event(prepared)), Reason.TOO_LARGE):
        for said in islice(cycle(told), STEPS):
            if "run-1" in run.project.runs:
                _answered(run, said)
    if "run-1" in run.project.runs:
        run.say(RunCancelRequested(reason=told[0]["reason"]))
    assert run.oversized() == []


def refused(decision: list[Event] | Rejection, reason: Reason) -> bool:
    """Whether something was refused, for this reason and no other."""
    assert not isinstance(decision, Rejection) or decision.reason is reason, decision
    return isinstance(decision, Rejection)


def _answered(run: Scenario, told: dict[str, Any]) -> None:
    """Answer the oldest open request at any length; too long an answer is refused and given again shorter."""
    phase_id = run.run.requests[0].phase_id
    assert phase_id is not None
    decision = run.submit(run.event(_answer(run, phase_id, told)))
    if refused(decision, Reason.TOO_LARGE):
        run.not_built(phase_id) if isinstance(run.asked(phase_id), BuildRequested) else run.cancelled()


def _answer(run: Scenario, phase_id: str, told: dict[str, Any]) -> Any:
    asked, well = run.asked(phase_id), told["goes_well"]
    reason = {"reason": told["reason"], "failure": told["failure"]}
    match asked:
        case BuildRequested() if well:
            return run.answer(BuildSucceeded, phase_id, patch=PATCH, probes=told["probes"])
        case BuildRequested():
            return run.answer(BuildFailed, phase_id, **reason)
        case AuditRequested() if well:
            suggested = [PATCH] * told["patches"]
            verdict = {"recommendation": told["recommendation"], "confidence": 1, "findings": told["findings"]}
            return run.answer(AuditCompleted, phase_id, suggested_patches=suggested, **verdict)
        case AuditRequested():
            return run.answer(AuditFailed, phase_id, **reason)
        case ApplyRequested() if well:
            made = {"parent": asked.parent, "candidate": commit(1), "tree": commit(2)}
            return run.answer(PatchAccepted, phase_id, concerns=told["concerns"], **made)
        case ApplyRequested():
            return run.answer(PatchRejected, phase_id, violations=told["violations"], **reason)
        case ChecksRequested():
            red = [{"name": "tests", "outcome": "failed", "output": output} for output in told["outputs"]]
            return run.answer(ChecksFailed, phase_id, candidate=asked.candidate, checks=red, **reason)
        case _:
            raise AssertionError(f"nobody asks for {type(asked).__name__} here")
