"""The incident pack of a failed run: what failed, what the last attempts met, budgets, and all events."""

from collections.abc import Iterable

from projections.attempts import FAILED, AttemptRow
from projections.phases import PhaseRow
from projections.run_files.markdown import bullets, document, items, line, section
from projections.run_files.pages import attempt_section, moment, spent
from projections.run_files.story import Story
from projections.timeline import TimelineRow

FOLDER = "incident"
LAST_ATTEMPTS = 6


def incident_page(story: Story) -> str:
    """`incident/incident.md`."""
    run = story.view.run
    incident = run.incident or {}
    facts = [
        ("State", run.state),
        ("Reason", run.failure_reason),
        ("Phase", incident.get("phase_id")),
        ("Stage", incident.get("stage")),
        ("Failure", incident.get("failure")),
        ("Last Attempt", incident.get("last_attempt")),
        ("Ended", moment(run.completed_at)),
    ]
    budgets = [
        ("Tokens", f"{spent(run.tokens_used, run.tokens_lower_bound)} of {line(run.token_cap)}"),
        ("CI Runs", run.ci_runs_used),
        ("Cost (USD)", f"{run.cost_usd:.2f}"),
    ]
    return document(
        f"# Incident: {line(run.run_id)}",
        bullets(facts),
        section("What Earlier Attempts Met", items(incident.get("details", ()))),
        section("Last Attempts", *(attempt_section(attempt) for attempt in last_attempts(story))),
        section("Budgets", bullets(budgets)),
        section("Phases", items(f"{p.phase_id}: {p.state} {_why(p)}" for p in story.view.phases)),
        section("Events", items(_event_line(event) for event in story.events)),
    )


def last_attempts(story: Story) -> list[AttemptRow]:
    """The last requests that failed, of the phase that ended the run where there is one."""
    phase_id = (story.view.run.incident or {}).get("phase_id")
    failed = [a for a in story.attempts if a.outcome == FAILED and phase_id in (None, a.phase_id)]
    return failed[-LAST_ATTEMPTS:]


def logs(story: Story) -> Iterable[tuple[str, AttemptRow]]:
    """Whose logs belong into the pack, and under what names."""
    for attempt in last_attempts(story):
        if attempt.log is not None:
            yield f"{FOLDER}/{attempt.kind}_attempt_{attempt.attempt}_{attempt.sequence}.log", attempt


def _why(phase: PhaseRow) -> str:
    return f"({phase.reason})" if phase.reason else ""


def _event_line(event: TimelineRow) -> str:
    phase = f" {event.phase_id}" if event.phase_id else ""
    return f"{event.sequence} {moment(event.recorded_at)} {event.type}{phase}: {event.summary}"
