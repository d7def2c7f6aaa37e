"""Commands that are loaded when they are asked for: what all of them need takes a second to load."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from typer.core import TyperGroup
from typer.main import get_group

MODULES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("init", "plan", "run", "start"), "commands_of_plans"),
        **dict.fromkeys(("status", "watch", "cancel", "retry", "report", "diff", "logs"), "commands_of_runs"),
        "promote": "commands_of_machines",
        **dict.fromkeys(("events", "replay", "audit"), "commands_of_history"),
        **dict.fromkeys(("up", "serve"), "commands_of_services"),
        **dict.fromkeys(("projections", "rejections", "gc"), "commands_of_operations"),
        "doctor": "commands_of_machines",
    }
)
"""Where each command is, in the order in which they are shown. Such a module has its own as `commands`."""


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": _Loaded()})


class _Loaded(Mapping[str, Any]):
    """Commands by name, each of which is loaded with its module when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"services.cli.{MODULES[name]}")
        return get_group(module.commands).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __contains__(self, name: object) -> bool:
        return name in MODULES  # without loading it

    def __len__(self) -> int:
        return len(MODULES)
