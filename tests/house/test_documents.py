"""What the documents show works: links, commands, plans, configurations, agents, programs."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from events.codec import read_submission
from events.configuration import parse_configuration
from events.families.audit import AuditRequested
from events.families.base import EventData, Feedback
from events.families.build import BuildRequested
from events.plan import RunRequest, plan_faults
from projections.catalogue import READERS
from services.agents import load_agents
from services.agents.report import read_report
from services.agents.verdict import read_verdict
from services.auditor.auditor import auditor_request
from services.builder.builder import builder_request
from services.cli.app import create_app
from support.documents import BLOCKS, DOCS, HEADING, LINK, PAGES, ROOT, Block, commands_in, prose

LONGEST_LINE = 120
INLINE_COMMAND = re.compile(r"`autopack ([^`]+)`")
USAGE_ERROR = typer.BadParameter.__bases__[0]
SHELL = [block for block in BLOCKS if block.language == "sh"]
AGENTS = [block for block in BLOCKS if block.page.name == "agents.md"]


def in_language(*languages: str) -> Any:
    chosen = [block for block in BLOCKS if block.language in languages]
    assert chosen, languages
    return pytest.mark.parametrize("block", chosen, ids=str)


def anchor(heading: str) -> str:
    """The anchor that a code host gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        name, _, wanted = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.exists() or (wanted and wanted not in map(anchor, HEADING.findall(prose(place)))):
            lost.append(target)
    assert lost == []


def test_every_page_of_the_documents_can_be_found_from_their_index() -> None:
    index = DOCS / "README.md"
    named = {(DOCS / target).resolve() for target in LINK.findall(prose(index))}
    pages = {page for page in (*DOCS.glob("*.md"), *DOCS.glob("operations/*.md")) if page != index}
    assert pages - named == set()


# In DEPENDENCIES.md each dependency has one line, whatever there is to say of it.
@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "DEPENDENCIES.md"], ids=lambda page: page.name)
def test_no_line_of_a_page_is_overlong(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [(number, len(line)) for number, line in enumerate(lines, 1) if len(line) > LONGEST_LINE] == []


def check_command(words: list[str]) -> None:
    """Parse as the command line itself would; raises its usage error."""
    command: Any = get_command(create_app())
    name = "autopack"
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    if words not in (["--help"], ["--version"], ["--install-completion"]):
        command.make_context(name, list(words))


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_in_an_example_exists_with_its_options(block: Block) -> None:
    for words in commands_in(block.text):
        check_command(words)


def test_whoever_is_shown_a_builder_on_the_command_line_is_shown_an_auditor() -> None:
    """Without one an ordinary change can end the run."""
    commands = [words for block in SHELL for words in commands_in(block.text) if "--builder-command" in words]
    assert commands
    assert all("--auditor-command" in words for words in commands)


@pytest.mark.parametrize("line", ["run plan.toml --repos .", "promote RUN", "status a b"])
def test_a_command_with_other_options_or_arguments_would_be_found(line: str) -> None:
    with pytest.raises(USAGE_ERROR):
        check_command(line.split())


def test_a_command_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError, match="there is no command 'rnu'"):
        check_command(["rnu", "plan.toml"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_mentioned_exists(page: Path) -> None:
    for mentioned in INLINE_COMMAND.findall(prose(page)):
        command: Any = get_command(create_app())
        words = mentioned.split()
        while words and words[0].islower() and words[0].isalpha() and hasattr(command, "commands"):
            assert words[0] in command.commands, mentioned
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, mentioned


def test_every_command_is_in_its_page() -> None:
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    group: Any = get_command(create_app())
    paths = []
    for name, command in group.commands.items():
        paths += [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]
    assert [path for path in paths if f"autopack {path}" not in text] == []


def test_every_option_of_run_is_in_the_page_of_commands() -> None:
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    group: Any = get_command(create_app())
    options = [option for parameter in group.commands["run"].params for option in parameter.opts]
    assert [option for option in options if option.startswith("--") and option not in text] == []


@in_language("python")
def test_every_example_in_python_compiles(block: Block) -> None:
    ast.parse(block.text, str(block))


@in_language("json")
def test_every_example_in_json_is_json_and_fits_what_it_shows(block: Block) -> None:
    document = json.loads(block.text)
    if "specversion" in document:
        submission = read_submission(block.text.encode(), {}, datetime.now(UTC))
        document = submission.event.data.model_dump()
    if "phases" in document:
        assert plan_faults(RunRequest.model_validate(document | {"run_id": "shop-42"})) == ()


@in_language("toml")
def test_every_example_in_toml_fits_what_it_shows(block: Block, tmp_path: Path) -> None:
    document = tomllib.loads(block.text)
    if "phases" in document:
        request = RunRequest.model_validate({"repository": "/srv/git/shop.git"} | document)
        assert plan_faults(request) == ()
    elif document.keys() & {"builder", "auditor"}:
        (tmp_path / "agents.toml").write_text(block.text)
        agents = load_agents(tmp_path / "agents.toml")
        assert agents.default_builder, block
        assert agents.default_auditor, block
    else:
        parse_configuration(block.text)


def example(language: str, heading: str, first_words: str) -> Block:
    found = [b for b in AGENTS if (b.language, b.heading) == (language, heading) and first_words in b.text]
    assert len(found) == 1, (language, heading, first_words)
    return found[0]


def perform(block: Block, request: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example as the services run an agent: the request on stdin and in a file, a file for its report."""
    program = folder / "program"
    program.write_text(block.text)
    (folder / "request.json").write_text(request.text)
    (folder / "work").mkdir()
    tools = folder / "tools"
    tools.mkdir()
    (tools / "your-agent").write_text('#!/bin/sh\nprintf "%s\\n" "$2" > done.txt\n')
    (tools / "your-agent").chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "AUTOPACK_REQUEST": str(folder / "request.json"),
        "AUTOPACK_REPORT": str(folder / "report.json"),
    }
    interpreter = sys.executable if block.language == "python" else "/bin/sh"
    return subprocess.run(
        [interpreter, str(program)],
        cwd=folder / "work",
        env=environment,
        input=request.text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_example_builders_work_and_their_reports_are_understood(language: str, tmp_path: Path) -> None:
    request = example("json", "A builder", '"base_commit"')
    builder = example(language, "A builder", "request")
    perform(builder, request, tmp_path)
    report = read_report((tmp_path / "report.json").read_bytes())
    assert report.summary
    assert report.notes == ()
    changed = list((tmp_path / "work").iterdir())
    assert len(changed) == 1
    assert "Totals" in changed[0].read_text()


@pytest.mark.parametrize(("diff", "verdict"), [("+++ b/src/cart.py", "revise"), ("+++ b/tests/t.py", "approve")])
def test_the_example_auditor_gives_a_verdict(diff: str, verdict: str, tmp_path: Path) -> None:
    shown = example("json", "An auditor", '"auditor_profile"')
    document = json.loads(shown.text) | {"diff": f"diff --git\n{diff}\n+x\n"}
    request = Block(shown.page, shown.line, "json", json.dumps(document), shown.heading)
    done = perform(example("python", "An auditor", "verdict"), request, tmp_path)
    assert read_verdict(done.stdout.encode()).recommendation == verdict


def test_the_report_and_the_verdict_that_are_shown_are_understood() -> None:
    assert read_report(example("json", "A builder", '"summary": "Totals').text.encode()).notes == ()
    read_verdict(example("json", "An auditor", '"recommendation"').text.encode())


def asked(event: type[EventData]) -> Any:
    """The data of the golden record of a request."""
    golden = json.loads((ROOT / f"tests/golden/{event.__name__}.v{event.version}.json").read_bytes())
    return event.model_validate(golden["data"])


def test_the_requests_that_are_shown_have_the_keys_of_the_real_ones() -> None:
    real_build = json.loads(builder_request("shop-42", asked(BuildRequested)))
    shown_build = json.loads(example("json", "A builder", '"base_commit"').text)
    assert shown_build.keys() == real_build.keys()
    assert shown_build["phase"].keys() == real_build["phase"].keys()
    assert shown_build["feedback"][0].keys() == Feedback.model_fields.keys()
    real_audit = json.loads(auditor_request("shop-42", asked(AuditRequested), b""))
    assert json.loads(example("json", "An auditor", '"auditor_profile"').text).keys() == real_audit.keys()


def test_every_projection_can_be_named_to_be_rebuilt() -> None:
    for block in SHELL:
        for words in commands_in(block.text):
            for before, name in pairwise(words):
                assert before != "rebuild" or name in READERS, words
