"""docker-compose.yml and the Dockerfile: all but the image itself is run, as processes of this machine."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml

from servers.kafka import KafkaBroker
from servers.ports import free_ports
from services.agents import CommandAgent, Role, load_agents
from services.compose import Service
from services.settings import NAMES_OF_OTHERS, PREFIX, Settings
from support.builds import repository, request
from support.compose_file import ROOT, HostProcess, compose_file, environment_of, mounts_of, own_services
from support.documents import BLOCKS
from support.gates import Gate
from support.repositories import git
from support.strangers import elsewhere

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = re.compile(r"^COPY ([^-].*) \S+$", re.MULTILINE)
EXAMPLE_AGENTS = ROOT / "examples" / "agents.toml"
STARTS_AGENTS = {"builder", "auditor"}
WORKERS = {*STARTS_AGENTS, "applier", "verifier"}
PROGRAM = Path(sys.executable).parent / "autopack"
READY_SECONDS = 90.0
LISTENED = "127.0.0.1:8000"
APPROVES = """echo '{"recommendation": "approve", "confidence": 1.0, "findings": [], "suggested_patches": []}'"""


def test_each_service_has_a_command_that_exists_and_two_builders_share_the_work() -> None:
    commands = {name: service["command"] for name, service in own_services().items()}
    assert all(command[0] == "serve" for command in commands.values())
    served = [command[1] for command in commands.values()]
    assert sorted(served) == sorted([*(str(service) for service in Service), "builder"])


def test_every_name_that_the_compose_file_heeds_is_known_to_the_services() -> None:
    """Compose takes them from the `.env` that the commands read as well, and those tell of unknown ones."""
    heeded = set(re.findall(r"\$\{(AUTOPACK_\w+)", (ROOT / "docker-compose.yml").read_text()))
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert heeded - known <= NAMES_OF_OTHERS
    given = {name for service in own_services().values() for name in service["environment"]}
    assert given <= known


def test_the_servers_are_those_that_the_tests_prove() -> None:
    services = compose_file({})["services"]
    image, version = services["kafka"]["image"].split(":")
    jars = (ROOT / "tests" / "servers" / "jars.py").read_text()
    assert image == "apache/kafka"
    assert version.startswith("4.")
    assert f"kafka_2.13:{version}" in jars
    assert int(services["kafka"]["environment"]["KAFKA_BROKER_SESSION_TIMEOUT_MS"]) >= 60_000
    assert services["postgres"]["image"] == "postgres:18"


def test_every_service_can_reach_what_it_is_told_of() -> None:
    """Shared artifacts everywhere; repositories where git works; the agents where they run."""
    for name, service in own_services().items():
        mounts = mounts_of(service)
        environment = service["environment"]
        role = service["command"][1]
        assert environment["AUTOPACK_ARTIFACTS"] in mounts, name
        assert ("/srv/git" in mounts) == (role in WORKERS), name
        assert (environment["AUTOPACK_AGENTS"] in mounts) == (role in STARTS_AGENTS), name
        assert (environment["AUTOPACK_RUN_FILES"] in mounts) == (role in {"projector", "api"}), name
        assert service["healthcheck"]["test"], name
        grace = float(service["stop_grace_period"].removesuffix("s"))
        assert grace > 20, name


def test_the_services_are_one_user_and_every_folder_that_they_write_is_open_to_any() -> None:
    """So that whoever owns the repositories can be that user."""
    chosen = own_services({"AUTOPACK_UID": "4711", "AUTOPACK_GID": "4712"})
    assert {service["user"] for service in chosen.values()} == {"4711:4712"}
    open_to_all = set(re.findall(r"install --directory --mode=1777 ([^\n\\]+)", DOCKERFILE)[0].split())
    for name, service in own_services().items():
        volumes = {place for place, mount in mounts_of(service).items() if mount.is_volume}
        assert {service["environment"]["AUTOPACK_HOME"], *volumes} <= open_to_all, name
        assert not any(mount.is_read_only for place, mount in mounts_of(service).items() if place == "/srv/git")


def test_the_user_of_the_image_is_that_of_the_services_where_nothing_is_said() -> None:
    """It has a name and a home there, without which ssh refuses to work."""
    (uid,) = re.findall(r"useradd .*--uid (\d+) autopack", DOCKERFILE)
    assert {service["user"] for service in own_services().values()} == {f"{uid}:{uid}"}


def test_nothing_of_the_operator_s_is_made_where_it_is_missing() -> None:
    """Docker would make a folder, also in place of agents.toml, and of root's, also for the repositories."""
    for name, service in own_services().items():
        assert not any(mount.is_made_where_missing for mount in mounts_of(service).values()), name


def test_agents_of_the_example_are_found_where_agents_are_started_and_nowhere_else() -> None:
    agents = load_agents(EXAMPLE_AGENTS)
    chosen = (agents.resolve(Role.BUILDER), agents.resolve(Role.AUDITOR))
    programs = {Path(agent.argv[0]).parent for agent in chosen if isinstance(agent, CommandAgent)}
    (folder,) = map(str, programs)
    for name, service in own_services({"AUTOPACK_AGENT_PROGRAMS": "/elsewhere/agents"}).items():
        mount = mounts_of(service).get(folder)
        assert (mount is not None) == (service["command"][1] in STARTS_AGENTS), name
        assert mount is None or (mount.source, mount.is_read_only) == ("/elsewhere/agents", True), name


def test_what_agents_are_lent_reaches_those_that_start_them_and_nobody_else(tmp_path: Path) -> None:
    secrets = tmp_path / "agents.env"
    for expected in (None, "k=1"):
        for name, service in own_services({"AUTOPACK_AGENT_SECRETS": str(secrets)}).items():
            is_lent = service["command"][1] in STARTS_AGENTS
            assert environment_of(service).get("MODEL_KEY") == (expected if is_lent else None), name
        secrets.write_text("# of the model\nMODEL_KEY=k=1\n")


def test_the_image_with_more_tools_that_is_shown_serves_all_who_run_checks_or_agents() -> None:
    shown = {block.language: block.text for block in BLOCKS if block.heading == "Containers"}
    services = own_services()
    extended = yaml.safe_load(shown["yaml"])["services"]
    assert set(extended) == {name for name, service in services.items() if "security_opt" in service}
    (base,) = re.findall(r"^FROM (\S+)$", shown["dockerfile"], re.MULTILINE)
    assert {service["image"] for service in services.values()} == {base}
    assert re.findall(r"^USER (\S+)$", shown["dockerfile"], re.MULTILINE)[-1] == "autopack"


def test_what_stands_beside_the_compose_file_is_neither_sent_to_the_image_nor_committed() -> None:
    """Repositories are large, and secrets are secrets."""
    mounts = [mount for service in own_services().values() for mount in mounts_of(service).values()]
    files = [file["path"] for service in own_services().values() for file in service.get("env_file", ())]
    beside = {Path(path).name for path in (*(mount.source for mount in mounts if not mount.is_volume), *files)}
    assert beside == {"repositories", "agents.toml", "agents", "agents.env"}
    assert beside <= set((ROOT / ".dockerignore").read_text().split())
    assert beside <= {line.strip("/") for line in (ROOT / ".gitignore").read_text().split()}


@pytest.mark.parametrize("port", ["", "9000"])
def test_no_port_is_published_but_the_api_s_and_that_on_the_loopback_address_alone(port: str) -> None:
    services = compose_file({"AUTOPACK_PORT": port})["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api": [f"127.0.0.1:{port or 8000}:8000"]}


def test_the_image_holds_what_the_wheel_and_the_services_need_and_runs_as_nobody_special() -> None:
    named = {word for line in COPIED.findall(DOCKERFILE) for word in line.split()}
    assert "requirements.txt" in named
    assert all((ROOT / name).exists() for name in named)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not named & set(ignored)
    installed = re.search(r"apt-get install .*?((?:[a-z-]+ )+)\\", DOCKERFILE)
    assert installed is not None
    assert {"git", "bubblewrap", "util-linux"} <= set(installed[1].split())
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["autopack"]
    assert 'ENTRYPOINT ["autopack"]' in DOCKERFILE


def test_the_image_installs_nothing_that_is_not_locked() -> None:
    """All that pip fetches has its hash; all else is made of what is there."""
    calls = re.findall(r"^RUN pip (.+)$", DOCKERFILE, re.MULTILINE)
    fetching = {word for call in calls if "--require-hashes" in call for word in call.split() if ".txt" in word}
    making = [set(call.split()) for call in calls if "--require-hashes" not in call]
    assert fetching == {"requirements-dev.txt", "requirements.txt"}
    assert len(making) == 2
    assert all(words >= {"--no-deps"} and words & {"--no-build-isolation", "--no-index"} for words in making)


def test_the_wheel_of_the_image_can_be_built_from_what_is_copied_with_nothing_fetched(tmp_path: Path) -> None:
    stage = DOCKERFILE.split("FROM ")[1]
    for name in {word for line in COPIED.findall(stage) for word in line.split()}:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (command,) = re.findall(r"^RUN pip (wheel .+)$", stage, re.MULTILINE)
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    subprocess.run([sys.executable, "-m", "pip", *command.split()], cwd=tmp_path, env=environment, check=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.suffix == ".whl"
    assert re.search(r"^COPY --from=wheel /build/dist \./\nRUN pip install .* \*\.whl$", DOCKERFILE, re.MULTILINE)


@contextmanager
def _addresses(
    broker: KafkaBroker, database_url: str, folder: Path, agent: tuple[str, ...]
) -> Iterator[dict[str, str]]:
    """What `${NAME:-default}` is replaced by: addresses, folders, and topics of the test's own."""
    agents, secrets = folder / "agents.toml", folder / "agents.env"
    argv = json.dumps(["/bin/sh", "-c", 'test "$MODEL_KEY" = lent && exec "$@"', "sh", *agent])
    agents.write_text(
        '[defaults]\nbuilder = "scripted"\nauditor = "approving"\n'
        f'[auditor.approving]\nkind = "command"\nargv = {json.dumps(["/bin/sh", "-c", APPROVES])}\n'
        f'[builder.scripted]\nkind = "command"\nsecrets = ["MODEL_KEY"]\nargv = {argv}\n'
    )
    secrets.write_text("MODEL_KEY=lent\n")
    (port,) = free_ports(1)
    yield {
        "AUTOPACK_LOG": f"kafka://{broker.bootstrap}",
        "AUTOPACK_DATABASE": database_url,
        "AUTOPACK_ARTIFACTS": str(folder / "artifacts"),
        "AUTOPACK_RUN_FILES": str(folder / "run-files"),
        "AUTOPACK_AGENTS": str(agents),
        "AUTOPACK_AGENT_SECRETS": str(secrets),
        "AUTOPACK_TOPIC_PREFIX": f"t{uuid4().hex[:10]}.",
        "AUTOPACK_PARTITIONS": "2",
        "AUTOPACK_LISTEN": f"127.0.0.1:{port}",
    }


@asynccontextmanager
async def _started(addresses: Mapping[str, str], folder: Path) -> AsyncIterator[list[HostProcess]]:
    """Every service, each with a home of its own as in a container."""
    processes: list[HostProcess] = []
    try:
        for name in own_services():
            service = _with_port(own_services({**addresses, "AUTOPACK_HOME": str(folder / name)})[name], addresses)
            processes.append(HostProcess.start(name, service, PROGRAM, folder / f"{name}.log"))
        yield processes
    finally:
        for process in processes:
            process.kill()


def _with_port(service: dict[str, Any], addresses: Mapping[str, str]) -> dict[str, Any]:
    """The port within the container is fixed, and its own health check knows it."""
    health = dict(service["healthcheck"])
    health["test"] = [word.replace(LISTENED, addresses["AUTOPACK_LISTEN"]) for word in health["test"]]
    return {**service, "healthcheck": health}


async def _until_healthy(processes: list[HostProcess]) -> None:
    waiting = list(processes)
    async with asyncio.timeout(READY_SECONDS):
        while waiting:
            for process in list(waiting):
                assert process.process.poll() is None, process.log.read_text()[-3000:]
                if await asyncio.to_thread(process.is_healthy):
                    waiting.remove(process)
            await asyncio.sleep(0.2)


async def _ended(client: httpx.AsyncClient, run_id: str) -> tuple[str, str | None]:
    """How a run ended, and why where it did not end well."""
    async with asyncio.timeout(READY_SECONDS):
        while True:
            run = (await client.get(f"/runs/{run_id}")).json()
            if str(run.get("state")).startswith("DONE_"):
                return run["state"], run["failure_reason"]
            await asyncio.sleep(0.1)


async def _instances(client: httpx.AsyncClient, run_id: str, kind: str) -> set[str]:
    """The instances that claimed the builds of a run, or its audits."""
    answer = await client.get(f"/runs/{run_id}/events", headers={"Accept": "application/x-ndjson"})
    events = [json.loads(line) for line in answer.text.splitlines()]
    asked = {event["id"] for event in events if event["type"] == f"autopack.{kind}Requested.v1"}
    claims = [event["data"] for event in events if event["type"] == "autopack.WorkStarted.v1"]
    return {claim["instance"] for claim in claims if claim["request_id"] in asked}


@pytest.mark.timeout(300)
async def test_a_build_runs_through_the_services_of_the_compose_file_and_all_end_on_sigterm(
    kafka_broker: KafkaBroker, database_url: str, tmp_path: Path
) -> None:
    repo, gate = repository(tmp_path / "repo"), Gate(tmp_path)
    side_by_side = [{"phase_id": f"P{number}", "depends_on": []} for number in range(6)]
    side_by_side[-1]["task_category"] = "schema_change"  # which demands an audit
    with _addresses(kafka_broker, database_url, tmp_path, gate.agent()) as addresses:
        async with _started(addresses, tmp_path) as processes:
            await _until_healthy(processes)
            async with httpx.AsyncClient(base_url=f"http://{addresses['AUTOPACK_LISTEN']}", timeout=30) as client:
                for run_id, project in (("run-1", "shop"), ("run-2", elsewhere("shop", 2))):
                    plan = request(repo, side_by_side, run_id=run_id, project=project)
                    started = await client.post("/runs/start", json=plan)
                    assert started.status_code == 201, started.text
                gate.open_all()
                ended = [await _ended(client, run_id) for run_id in ("run-1", "run-2")]
                builders = [await _instances(client, run_id, "Build") for run_id in ("run-1", "run-2")]
                auditors = [await _instances(client, run_id, "Audit") for run_id in ("run-1", "run-2")]
            assert ended == [("DONE_SUCCESS", None)] * 2
            assert [len(instances) for instances in builders] == [1, 1]
            assert builders[0] != builders[1]
            assert [len(instances) for instances in auditors] == [1, 1]
            assert all(process.process.poll() is None for process in processes)
            await _ended_on_sigterm(processes)
    for run_id in ("run-1", "run-2"):
        assert git(repo, "rev-list", "--count", f"main..autonomous/{run_id}") == "6"
        assert list((tmp_path / "run-files").rglob(f"{run_id}/run_summary.md"))
    assert list(tmp_path.glob("*/ready/*")) == []
    assert _left_behind(tmp_path) == []


async def _ended_on_sigterm(processes: list[HostProcess]) -> None:
    for process in processes:
        process.terminate()
    grace = max(float(process.service["stop_grace_period"].removesuffix("s")) for process in processes)
    codes = {}
    for process in processes:
        codes[process.name] = await asyncio.to_thread(process.process.wait, grace)
    assert codes == dict.fromkeys(codes, 0), {p.name: p.log.read_text()[-2000:] for p in processes}


def _left_behind(folder: Path) -> list[str]:
    """Processes that still have something of this test's folder on their command line or in their environment."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            said = [*(process.info["cmdline"] or []), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if any(str(folder) in word for word in said) and process.pid != psutil.Process().pid:
            found.append(" ".join(process.info["cmdline"] or []))
    return found
