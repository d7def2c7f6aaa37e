"""The settings of a command, and where the log of what runs in this process goes."""

import structlog
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.cli.failures import WrongUsage
from services.cli.logging_setup import log_to_home, log_to_stderr
from services.settings import PREFIX, Settings, unknown_settings

logger = structlog.get_logger(__name__)


def settings_for_command() -> Settings:
    """The settings, for a command whose output people read: logs go to a file of the home."""
    settings = read_settings()
    log_to_home(settings)
    return settings


def settings_for_service() -> Settings:
    """The settings, for services whose log is what they print; it says which names nobody heeds."""
    settings = read_settings()
    log_to_stderr(settings)
    for name, meant in unknown_settings().items():
        logger.warning("no such setting", name=name, perhaps=meant)
    return settings


def read_settings() -> Settings:
    """The settings of the environment; raises WrongUsage naming each that cannot be meant."""
    try:
        return Settings()
    except ValidationError as error:
        raise WrongUsage("\n".join(_faults(error))) from error
    except SettingsError as error:
        raise WrongUsage(str(error)) from error
    except UnicodeDecodeError as error:
        raise WrongUsage(f"the file .env of the current folder is not UTF-8: {error}") from error


def _faults(error: ValidationError) -> list[str]:
    return [f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_input=False)]


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]).upper()
    return name if name.startswith((PREFIX, "AUTONOMOUS_")) else f"{PREFIX}{name}"
