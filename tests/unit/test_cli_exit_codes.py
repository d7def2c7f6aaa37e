"""What the command line does with wrong usage: a clear word on stderr, nothing on stdout, the right exit code."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from services.cli import main
from services.cli.app import create_app, exit_code_of
from services.cli.services_here import EVERYTHING
from services.compose import Service
from services.settings import Settings

PLAN = {
    "tiers": [{"tier_id": "T1", "tier_index": 0, "name": "Cart"}],
    "phases": [{"phase_id": "P1", "tier_id": "T1", "phase_index": 0, "name": "Totals"}],
}
GOLDEN_COMMANDS = {
    *("init", "run", "up", "serve", "start", "status", "watch", "cancel", "retry", "report", "diff", "logs"),
    *("plan check", "events", "replay", "audit verify", "promote", "doctor", "gc"),
    *("projections status", "projections rebuild", "projections prune"),
    *("rejections list", "rejections show", "rejections redrive"),
}


@pytest.fixture(autouse=True)
def settings_of_this_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOPACK_HOME", str(tmp_path / "home"))
    for name in ("URL", "LOG", "DATABASE", "REPOSITORY"):
        monkeypatch.delenv(f"AUTOPACK_{name}", raising=False)


@pytest.fixture
def plan(tmp_path: Path) -> str:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    return str(file)


def commit(folder: Path, **files: str) -> None:
    """Commit files in a repository, made if need be."""
    folder.mkdir(exist_ok=True)
    identity = ("-c", "user.name=t", "-c", "user.email=t@t.invalid")
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    for step in (
        ("init", "-q", "-b", "main"),
        ("add", "--all"),
        ("commit", "-q", "--allow-empty", "-m", "a change"),
    ):
        subprocess.run(["git", *identity, "-C", str(folder), *step], check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    commit(folder, autopack='[checks.normal]\ntests = { argv = ["true"] }\n')
    return folder


def commands_of(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    for name, command in typer.main.get_command(app).commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {sub}", found) for sub, found in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [(["--version"], ""), (["plan", "--help"], "services.cli.commands_of_plans")],
)
def test_no_command_is_loaded_that_is_not_asked_for(arguments: list[str], loaded: str) -> None:
    """All of them together take a second to load."""
    source = """
import sys
from services.cli.app import exit_code_of
assert exit_code_of(sys.argv[1:]) == 0
heavy = ("services.cli.commands_of_", "fastapi", "uvicorn")
found = [name for name in sys.modules if name.startswith(heavy)]
print(*sorted(name for name in found if "." not in name.removeprefix("services.cli.")))
"""
    command = [sys.executable, "-c", source, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == loaded


def test_what_reaches_servers_and_stores_far_away_is_not_loaded_for_those_at_hand() -> None:
    """It takes a tenth of a second, for every command and service."""
    source = """
import sys
from services.artifacts import open_artifacts
from services import cli, logs
from services.cli import commands_of_history, commands_of_operations, commands_of_plans, commands_of_runs
from services.compose import root, serving, supervising, working
open_artifacts("/a/folder")
print(*sorted(name for name in sys.modules if name in ("aiokafka", "fsspec")))
"""
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"


def test_every_command_is_there_and_explains_itself() -> None:
    commands = dict(commands_of(create_app()))
    assert set(commands) == GOLDEN_COMMANDS
    for name, command in commands.items():
        assert len(command.help) > 40, name
        for parameter in command.params:
            if getattr(parameter, "name", "") != "help":
                assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_everything_that_prints_takes_json() -> None:
    for name, command in commands_of(create_app()):
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_every_service_can_be_served() -> None:
    assert set(Service) == EVERYTHING


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fly"], "No such command"),
        (["status", "--colour"], "No such option"),
        (["run"], "Missing argument"),
        (["cancel"], "Missing argument"),
        (["replay", "r1", "--to", "-1"], "--to"),
        (["serve", "everything"], "there is no service"),
        (["run", "none.toml"], "No such file"),
        (["plan", "check", "none.toml"], "No such file"),
        (["rejections", "show", "first"], "no place"),
        (["projections", "rebuild", "gossip"], "gossip"),
        (["init", "--repo", "."], "not in a git repository"),
        (["init", "--repo", "nowhere"], "no such folder"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(
    arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(arguments) == 2
    out, err = capfd.readouterr()
    assert told in err
    assert out == ""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "repository: needed"),
        (["--repo", "nowhere"], "no such folder"),
        (["--repo", "."], "not in a git repository"),
        (["--repo", "https://a.invalid/b.git", "--run-id", "a/b"], "run_id"),
        (["--repo", "https://a.invalid/b.git", "--tier", "T9"], "unknown tier"),
        (["--repo", "https://a.invalid/b.git", "--token-cap", "-1"], "token_cap"),
        (["--repo", "https://a.invalid/b.git", "--check", "'"], "--check"),
        (["--repo", "https://a.invalid/b.git", "--builder-command", ""], "--builder-command"),
    ],
)
def test_a_run_that_cannot_be_meant_starts_nothing(
    plan: str, options: list[str], told: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(["run", plan, *options]) == 2
    out, err = capfd.readouterr()
    assert told in err
    assert out == ""
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("option", [["--builder", "b"], ["--check", "make"]])
@pytest.mark.parametrize(
    "written", [{"agents": "codex"}, {"checks": 5}, {"checks": {"normal": True}}, {"agents": [], "checks": "all"}]
)
def test_what_options_add_to_hides_no_fault_of_a_plan(
    written: dict[str, Any], option: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN | written))
    assert exit_code_of(["run", "plan.json", "--repo", "https://a.invalid/b.git", *option]) == 2
    told = capfd.readouterr().err
    assert [key for key in written if f"plan.json:1: {key}" not in told] == []


def test_every_fault_of_a_plan_is_listed_as_json_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"tierz": [], "phases": [{"phase_id": "P1"}]}))
    assert exit_code_of(["plan", "check", str(file), "--json"]) == 2
    document = json.loads(capfd.readouterr().out)
    assert document["valid"] is False
    places = {fault["place"].rsplit(": ", 1)[1] for fault in document["faults"]}
    assert {"tierz", "phases[0].tier_id", "phases[0].name"} <= places


def test_a_plan_is_checked_with_the_repository_s_own_configuration(
    plan: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(["plan", "check", plan, "--repo", str(repository)]) == 0
    shown = capfd.readouterr().out
    assert "tests: true" in shown
    assert "\x1b" not in shown


def test_only_what_is_committed_counts_for_a_plan(
    plan: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "autopack.toml").write_text("broken")
    assert exit_code_of(["plan", "check", plan, "--repo", str(repository), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["strategy"]["checks"]["normal"][0]["name"] == "tests"
    commit(repository)
    assert exit_code_of(["plan", "check", plan, "--repo", str(repository)]) == 2
    assert "not TOML" in capfd.readouterr().err


@pytest.mark.parametrize("made", ["text", "folder", "branch"])
def test_a_repository_whose_configuration_cannot_be_read_is_named(
    made: str, plan: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    match made:
        case "text":
            (repository / "autopack.toml").write_bytes(b"\xff\xfea")
        case "folder":
            (repository / "autopack.toml").unlink()
            commit(repository / "autopack.toml", a="")
            shutil.rmtree(repository / "autopack.toml" / ".git")
        case _:
            subprocess.run(["git", "-C", str(repository), "checkout", "-q", "--orphan", "none"], check=True)
    if made != "branch":
        commit(repository)
    assert exit_code_of(["plan", "check", plan, "--repo", str(repository)]) == 2
    assert ("no base 'HEAD'" if made == "branch" else "not a readable text file") in capfd.readouterr().err


def test_a_machine_without_git_is_told_so(plan: str, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    command = [str(Path(sys.executable).with_name("autopack")), "run", plan, "--repo", str(repository)]
    environment = {"PATH": str(tmp_path / "empty"), "AUTOPACK_HOME": str(tmp_path / "home")}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("autopack: there is no git on the PATH")


def test_a_repository_without_checks_is_a_fault_of_the_plan_s_run(
    plan: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commit(tmp_path / "bare")
    assert exit_code_of(["plan", "check", plan, "--repo", str(tmp_path / "bare")]) == 2
    assert "no check" in capfd.readouterr().err


def test_a_service_that_does_not_answer_exits_with_3(
    plan: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AUTOPACK_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for arguments in (["status"], ["run", plan, "--repo", "https://a.invalid/b.git"], ["watch", "r1"]):
            assert exit_code_of(arguments) == 3
            assert "no service answers" in capfd.readouterr().err


@pytest.mark.parametrize("arguments", [["watch", "r1"], ["cancel", "r1"], ["retry", "r1"]])
def test_what_needs_a_running_service_says_so(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(arguments) == 3
    assert "autopack up" in capfd.readouterr().err


def test_detaching_needs_a_running_service(plan: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["run", plan, "--repo", "https://a.invalid/b.git", "--detach"]) == 3
    assert "--detach needs a service" in capfd.readouterr().err


def test_a_setting_that_cannot_be_meant_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOPACK_LOG", "rabbit://here")
    monkeypatch.setenv("AUTOPACK_BUILDERS_AT_ONCE", "0")
    assert exit_code_of(["status"]) == 2
    told = capfd.readouterr().err
    assert "AUTOPACK_LOG" in told
    assert "AUTOPACK_BUILDERS_AT_ONCE" in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("LISTEN", each) for each in ("8000", "localhost", ":8000", "a:99999", "a..b:80", "u@a:80", "a:80/x")),
        *(("URL", each) for each in ("localhost:8000", "ftp://a", "http://", "http://127.0.0.1:99999")),
        ("ARTIFACTS", "nosuch://a"),
        *(("SESSION_TIMEOUT_SECONDS", each) for each in ("0", "inf", "nan", "1e9")),
        ("TOPIC_PREFIX", "team/"),
        *((name, "~no-such-user/x") for name in ("HOME", "RUN_FILES", "AGENTS")),
        ("HOME", "/dev/null"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_begins(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"AUTOPACK_{name}", value)
    assert exit_code_of(["status"]) == 2
    assert f"AUTOPACK_{name}: " in capfd.readouterr().err


def test_who_has_no_home_is_asked_for_a_folder(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("HOME", "AUTOPACK_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert exit_code_of(["status"]) == 2
    assert "AUTOPACK_HOME: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("listen", "address"),
    [("0.0.0.0:0", ("0.0.0.0", 0)), ("[::1]:8080", ("::1", 8080)), ("localhost:80", ("localhost", 80))],
)
def test_an_address_to_listen_at_is_a_host_and_a_port(listen: str, address: tuple[str, int]) -> None:
    assert Settings(listen=listen).listen_address == address


def test_a_setting_that_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTOPACK_HOME", "AUTOPACK_LISTEN", "AUTOPACK_BUILDERS_AT_ONCE", "AUTOPACK_RUN_FILES"):
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert settings.home_folder == Path.home() / ".autopack"
    assert settings.run_files_folder == Path.home() / ".autopack" / ".autonomous_runs"
    assert (settings.listen_address, settings.builders_at_once) == (("127.0.0.1", 8000), 4)


@pytest.mark.parametrize("name", ["AUTOPACK_HOME", "AUTOPACK_RUN_FILES"])
@pytest.mark.parametrize("value", ["/dev/null", "/dev/null/files"])
def test_a_folder_that_cannot_be_one_is_refused_at_the_start(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert exit_code_of(["serve", "projector"]) == 2
    said = capfd.readouterr().err
    assert "/dev/null is no folder" in said
    assert name in said


def test_a_file_of_settings_that_is_no_text_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_bytes(b"AUTOPACK_LOG_LEVEL=\xff\n")
    assert exit_code_of(["status"]) == 2
    assert ".env of the current folder is not UTF-8" in capfd.readouterr().err


def test_the_version_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["--version"]) == 0
    assert capfd.readouterr().out.startswith("autopack 2.")


def test_an_initialised_repository_can_be_planned_for(
    plan: str, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "autopack.toml").unlink()
    assert exit_code_of(["init", "--repo", str(repository), "--check", "true", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["checks"][0]["argv"] == ["true"]
    assert exit_code_of(["init", "--repo", str(repository), "--check", "true"]) == 2


class InterruptedImport:
    """Ctrl-C, pressed while the commands are imported."""

    def __init__(self, at: str) -> None:
        self._at = at

    def find_spec(self, name: str, *_: object) -> None:
        if name == self._at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["services.cli.app", "services.cli.commands_of_runs"])
def test_ctrl_c_during_the_imports_is_told_in_one_line_and_exits_with_130(
    at: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, at, raising=False)
    monkeypatch.setattr(sys, "meta_path", [InterruptedImport(at), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["autopack", "status", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capfd.readouterr().err == "autopack: interrupted\n"
