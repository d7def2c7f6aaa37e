"""Commands that are loaded when they are asked for: what all of them need takes a second to load."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType, ModuleType
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


def load_for(arguments: Sequence[str]) -> None:
    """Load what a command line needs. Whoever calls this can tell of Ctrl-C meanwhile; the library would not."""
    name = next((argument for argument in arguments if not argument.startswith("-")), "")
    if name in MODULES:
        _module_of(name)


def _module_of(name: str) -> ModuleType:
    return import_module(f"services.cli.{MODULES[name]}")


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": _Loaded()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, if there is one. A fault in loading it is not taken for a wrong name."""
        return self.commands[cmd_name] if cmd_name in MODULES else None


class _Loaded(Mapping[str, Any]):
    """Commands by name, each of which is loaded with its module when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        return get_group(_module_of(name).commands).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __contains__(self, name: object) -> bool:
        return name in MODULES  # without loading it

    def __len__(self) -> int:
        return len(MODULES)
