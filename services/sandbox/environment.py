"""The environment of an agent or a check: a short list of what may pass, and nothing else."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
OWN_VARIABLES = re.compile(r"AUTOPACK_|AUTONOMOUS_|KAFKA_|PG[A-Z]")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
AGENT_NAME = "Autopack agent"
AGENT_ADDRESS = "agent@autopack.invalid"


class SecretMissing(Exception):
    """A secret that the agent is to be given is not in the service's environment"""

    def __init__(self, name: str):
        super().__init__(f"{self.__doc__}: {name}")
        self.name = name


class SecretForbidden(Exception):
    """A variable of the services' own is never given to an agent"""

    def __init__(self, name: str):
        super().__init__(f"{self.__doc__}: {name}")
        self.name = name


def check_secret_name(name: str) -> None:
    """Raise SecretForbidden for a name that is no variable, or one of ours, a broker's or a database's."""
    if not NAME.fullmatch(name) or OWN_VARIABLES.match(name):
        raise SecretForbidden(name)


def search_path(service: Mapping[str, str]) -> str:
    """Give the search path for programs, as the service has it."""
    return service.get("PATH") or DEFAULT_PATH


def child_environment(
    service: Mapping[str, str], home: Path, temporary: Path, work_folder: Path
) -> dict[str, str]:
    """Choose from the service's environment what every child may have, and add what makes git behave."""
    passed = {name: service[name] for name in PASSED_ON if name in service}
    return {
        "LANG": "C.UTF-8",
        **passed,
        "PATH": search_path(service),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "USER": "autopack",
        "LOGNAME": "autopack",
        **_git_settings(work_folder),
    }


def chosen_secrets(service: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Take secrets by their names. Raises SecretForbidden and SecretMissing."""
    chosen = {}
    for name in names:
        check_secret_name(name)
        if not service.get(name):
            raise SecretMissing(name)
        chosen[name] = service[name]
    return chosen


def _git_settings(work_folder: Path) -> dict[str, str]:
    return {
        "GIT_AUTHOR_NAME": AGENT_NAME,
        "GIT_AUTHOR_EMAIL": AGENT_ADDRESS,
        "GIT_COMMITTER_NAME": AGENT_NAME,
        "GIT_COMMITTER_EMAIL": AGENT_ADDRESS,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": str(work_folder),
    }
