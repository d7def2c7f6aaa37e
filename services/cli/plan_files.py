"""Plan files: JSON, TOML or YAML, by their suffix or else by their content."""

import json
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from events.plan import Fault
from services.cli.failures import PlanInvalid, WrongUsage
from services.cli.plan_places import LineFinder, lines_of_tables, lines_of_yaml
from services.cli.yaml_reading import load_yaml
from services.json_reading import load_json

STANDARD_INPUT = "-"
LARGEST_PLAN_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as it was written: its name, what it says, and where each part of it stands."""

    name: str
    document: Mapping[str, Any]
    line_of: LineFinder

    def place(self, location: tuple[str | int, ...]) -> str:
        """A place in the plan, with its line in the file where that is known."""
        line = self.line_of(location)
        path = written_path(location) or "(top)"
        return f"{self.name}:{line}: {path}" if line is not None else f"{self.name}: {path}"


def written_path(location: tuple[str | int, ...]) -> str:
    """A location as people write it: `phases[2].scope`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def read_plan(name: str) -> PlanFile:
    """Read a plan file, or standard input where the name is `-`. Raises WrongUsage and PlanInvalid."""
    text = _text(name)
    document, line_of = _parsed(name, text)
    if not isinstance(document, dict):
        raise _unreadable(name, None, f"a plan is an object, not {_kind(document)}")
    return PlanFile(name, document, line_of)


def _text(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
    except OSError as error:
        raise WrongUsage(f"{name}: {error.strerror}") from error
    if len(data) > LARGEST_PLAN_BYTES:
        raise _unreadable(name, None, f"{len(data)} bytes; {LARGEST_PLAN_BYTES} at most")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(name, None, f"not UTF-8: {error}") from error


Parser = Callable[[str, str], tuple[Any, LineFinder]]


def _parsed(name: str, text: str) -> tuple[Any, LineFinder]:
    chosen = _PARSERS.get(Path(name).suffix.lower())
    if chosen is not None:
        return chosen(name, text)
    if text.lstrip().startswith("{"):
        return _json(name, text)
    try:
        return _toml(name, text)
    except PlanInvalid:
        return _yaml(name, text)


def _json(name: str, text: str) -> tuple[Any, LineFinder]:
    try:
        return load_json(text), lines_of_yaml(text)
    except json.JSONDecodeError as error:
        raise _unreadable(name, error.lineno, f"not JSON: {error.msg} (column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, None, f"not JSON: {error}") from error


def _toml(name: str, text: str) -> tuple[Any, LineFinder]:
    try:
        return tomllib.loads(text), lines_of_tables(text)
    except (ValueError, RecursionError) as error:  # also a number that no int takes
        raise _unreadable(name, None, f"not TOML: {error}") from error


def _yaml(name: str, text: str) -> tuple[Any, LineFinder]:
    try:
        return load_yaml(text), lines_of_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise _unreadable(name, line, f"not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _unreadable(name, None, f"not YAML: {error}") from error


_PARSERS: Mapping[str, Parser] = {".json": _json, ".toml": _toml, ".yaml": _yaml, ".yml": _yaml}


def _unreadable(name: str, line: int | None, message: str) -> PlanInvalid:
    place = name if line is None else f"{name}:{line}"
    return PlanInvalid(name, (Fault(place=place, message=message),))


def _kind(document: object) -> str:
    match document:
        case None:
            return "nothing"
        case list():
            return "a list"
        case _:
            return "a single value"
