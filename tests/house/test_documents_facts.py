"""What the documents say of settings, metrics, routes, events and rules is what there is."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from events.catalogue import EVENT_TYPES, SUBMITTED_TO, Topic
from events.decide.verdicts import Reason
from events.failpoints import FAILPOINTS
from events.log.kafka.topics import SPECIFICATIONS
from events.playbook import ALIASES, CATEGORIES
from events.states import RunState
from services.api.app import create_app
from services.api.context import ApiContext
from services.policy.self_running import FAMILIES
from services.settings import NAMES_OF_OTHERS, PREFIX, Settings
from support.documents import BLOCKS, CATALOGUE, DOCS, PAGES, ROOT, prose, words_of

FAILPOINT_ROWS = re.compile(r"^\| `([a-z-]+)` \| ([a-z, ]+) \| (.+?)(?: \(on \w+\))? \|$", re.MULTILINE)
LATER_ROUTES = re.compile(r"^\|.*\*\*not yet\*\*.*$", re.MULTILINE)


def test_every_setting_is_in_the_page_of_operations() -> None:
    names = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    found = words_of("operations.md")
    assert names - found == set()


def test_every_failpoint_is_in_the_page_of_faults_as_it_is_in_the_code() -> None:
    rows = FAILPOINT_ROWS.findall(prose(DOCS / "faults.md"))
    assert rows == [(point.name, ", ".join(sorted(point.services)), point.standing) for point in FAILPOINTS]


def test_every_setting_that_is_mentioned_exists() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for page in PAGES:
        mentioned = set(re.findall(r"\bAUTOPACK_[A-Z_]*[A-Z]\b", page.read_text(encoding="utf-8")))
        assert mentioned - known - NAMES_OF_OTHERS == set(), page.name


def test_every_metric_is_in_the_page_of_operations_and_no_other() -> None:
    source = (ROOT / "services/api/operations.py").read_text(encoding="utf-8")
    gauges = set(re.findall(r'GaugeMetricFamily\(\s*"(\w+)"', source))
    counters = set(re.findall(r'(?:CounterMetricFamily\(\s*|^\s+\()"(autopack_\w+)"', source, re.MULTILINE))
    stages = re.findall(r'^\s+\("(\w+)", "[^"]+by stage|^\s+\("(count)"', source, re.MULTILINE)
    counters |= {f"autopack_stage_{first or second}" for first, second in stages}
    published = gauges | {f"{name}_total" for name in counters}
    documented = {word for word in words_of("operations.md") if re.fullmatch(r"autopack_[a-z_]+", word)}
    assert documented - {"autopack_log"} == published


def served_routes() -> Mapping[str, set[str]]:
    context: Any = ApiContext.__new__(ApiContext)
    paths = create_app(context).openapi()["paths"]
    return {path: {method.upper() for method in methods} for path, methods in paths.items()}


def test_every_route_is_in_the_page_on_http_and_no_other() -> None:
    documented = set(re.findall(r"`(GET|POST) (/[\w/{}]*)`", prose(DOCS / "http.md")))
    served = {(method, path) for path, methods in served_routes().items() for method in methods}
    assert documented == served


def test_no_route_that_is_said_to_be_missing_is_served() -> None:
    missing = set()
    for line in LATER_ROUTES.findall(prose(DOCS / "migration.md")):
        missing |= set(re.findall(r"`(?:GET|POST) (/[\w/{}]*)`", line.split("|")[1]))
    assert missing
    assert missing & served_routes().keys() == set()


def test_every_event_is_in_the_catalogue_of_the_documents() -> None:
    text = CATALOGUE.read_text(encoding="utf-8")
    assert [event.__name__ for event in EVENT_TYPES if f"### {event.__name__}\n" not in text] == []


def test_a_second_version_of_what_others_submit_is_in_the_page_on_upgrading() -> None:
    page = (DOCS / "operations" / "upgrading.md").read_text(encoding="utf-8")
    newer = {f"`{event.__name__}` v{event.version}" for event in SUBMITTED_TO if event.version > 1}
    assert {name for name in newer if name not in page} == set()


def test_every_topic_and_every_reason_of_a_rejection_is_in_the_page_on_kafka() -> None:
    found = words_of("kafka.md")
    assert {topic.value for topic in Topic} - found == set()
    assert {reason.value for reason in Reason} - found == set()


def test_the_retention_of_topics_is_as_documented() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    for topic, specification in SPECIFICATIONS.items():
        days = specification.retention_milliseconds / 86_400_000
        kept = "unlimited" if days < 0 else f"{days:g} day"
        size = f"{specification.largest_batch_bytes >> 20} MiB"
        assert any(topic in line and kept in line and size in line for line in text.splitlines()), topic


def test_every_category_and_every_state_of_an_end_is_in_the_page_on_plans() -> None:
    found = words_of("plans.md")
    assert CATEGORIES.keys() - found == set()
    assert ALIASES.keys() - found == set()
    assert {state.value for state in RunState if state.is_terminal} - found == set()


def test_the_numbers_of_the_categories_are_the_real_ones() -> None:
    text = (DOCS / "plans.md").read_text(encoding="utf-8")
    for name, row in CATEGORIES.items():
        cells = (row.complexity, row.ci_profile, row.builder_attempts, row.auditor_attempts)
        line = f"| `{name}` | {' | '.join(map(str, cells))} | {row.incident_token_cap:,} |"
        first = f" `{row.auditor_profile}` |" if row.audit_required else " |"
        assert f"{line}{first}" in text


def test_every_rule_of_the_policy_is_in_the_page_on_plans() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "services/policy").glob("*.py")]
    rules = {rule for text in sources for rule in re.findall(r'violation\(\s*"(\w+)"', text)}
    rules |= {rule for text in sources for rule in re.findall(r'^\s+\("(\w+)", [^)]+limits\.', text, re.MULTILINE)}
    rules |= {family.rule for family in FAMILIES}
    assert len(rules) > 25
    assert rules - words_of("plans.md") == set()


def test_the_demo_is_shown_as_it_goes() -> None:
    """The lines of the README that tell of phases name the demo's own."""
    plan = tomllib.loads((ROOT / "examples/demo/plan.toml").read_text(encoding="utf-8"))
    phases = {phase["phase_id"] for phase in plan["phases"]}
    shown = next(b for b in BLOCKS if b.page == ROOT / "README.md" and "RunRequested        6 phases" in b.text)
    named = set(re.findall(r"^\d\d:\d\d  (\w+)", shown.text, re.MULTILINE))
    assert named
    assert named <= phases
