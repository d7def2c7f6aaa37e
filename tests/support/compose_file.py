"""The compose file as Docker would read it, and its services as processes of this machine."""

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


def compose_file(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with its anchors followed and `${NAME:-default}` replaced."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    filled: dict[str, Any] = _filled(read, variables)
    return filled


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {name: _filled(inner, variables) for name, inner in value.items()}
        case list():
            return [_filled(inner, variables) for inner in value]
        case str():
            return _VARIABLE.sub(lambda found: _chosen(found, variables), value)
        case _:
            return value


def _chosen(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name = found["name"]
    return "$" if name is None else variables.get(name) or found["default"] or ""


def own_services(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The services that run our image, by name."""
    services = compose_file(variables or {})["services"]
    return {name: service for name, service in services.items() if "build" in service}


@dataclass(frozen=True, slots=True)
class ComposeMount:
    """What a service sees at a path: a named volume, or something of the machine's."""

    source: str
    is_volume: bool
    is_read_only: bool
    is_made_where_missing: bool

    @classmethod
    def read(cls, written: str | Mapping[str, Any]) -> "tuple[str, ComposeMount]":
        """Read either syntax; the path comes first."""
        if isinstance(written, str):
            source, target, *options = written.split(":")
            is_volume = not source.startswith((".", "/", "~"))
            return target, cls(source, is_volume, "ro" in options, not is_volume)
        is_bind = written["type"] == "bind"
        is_made = is_bind and written.get("bind", {}).get("create_host_path", True)
        return written["target"], cls(written["source"], not is_bind, written.get("read_only", False), is_made)


def mounts_of(service: Mapping[str, Any]) -> dict[str, ComposeMount]:
    """What a service mounts, by where it sees it."""
    return dict(ComposeMount.read(written) for written in service["volumes"])


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A service of the compose file, run by its own command with its own environment."""

    name: str
    service: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, name: str, service: Mapping[str, Any], program: Path, log: Path) -> "HostProcess":
        """Start `program`, which is the image's entry point, with the service's command."""
        with log.open("wb") as out:
            process = subprocess.Popen(
                [program, *service["command"]],
                env=environment_of(service),
                cwd=log.parent,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name, service, process, log)

    def is_healthy(self) -> bool:
        """What the service's own health check says."""
        kind, *command = self.service["healthcheck"]["test"]
        argv = ["/bin/sh", "-c", *command] if kind == "CMD-SHELL" else command
        done = subprocess.run(argv, env=environment_of(self.service), capture_output=True, timeout=30)
        return done.returncode == 0

    def terminate(self) -> None:
        """Ask it to end, as Docker does."""
        self.process.terminate()

    def kill(self) -> None:
        """End it and all that it has started and that stayed in its group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """The service's environment, and of this process's own what an image has as well."""
    venv = ROOT / ".venv" / "bin"
    path = f"{venv}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    given = {name: str(text) for name, text in service["environment"].items()}
    return {"PATH": path, "LANG": "C.UTF-8", **_variables_of_files(service), **given}


def _variables_of_files(service: Mapping[str, Any]) -> dict[str, str]:
    """What the service's `env_file` brings; one that is missing has to be allowed to."""
    lines: list[str] = []
    for file in service.get("env_file", ()):
        path = ROOT / file["path"]
        if path.exists() or file["required"]:
            lines += path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
