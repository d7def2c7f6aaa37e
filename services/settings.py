"""The settings: the one reader of the environment. Every name has the prefix `AUTOPACK_`."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, NoDecode, SettingsConfigDict

from events.failpoints import check_failpoints
from events.plan import SafeId
from services.artifact_files import folder_of

PREFIX = "AUTOPACK_"
NAMES_OF_OTHERS = frozenset(
    {
        *("AUTOPACK_REQUEST", "AUTOPACK_REPORT", "AUTOPACK_TEST_REQUIRE"),
        *("AUTOPACK_UID", "AUTOPACK_GID", "AUTOPACK_PORT", "AUTOPACK_REPOSITORIES"),
        *("AUTOPACK_AGENTS_FILE", "AUTOPACK_AGENT_PROGRAMS", "AUTOPACK_AGENT_SECRETS"),
    }
)
"""Names that agents, tests and the compose file know, and that are no settings."""


ADDRESS_OF_LOG = "must be kafka://host:port[,host:port] or postgresql://…"
ADDRESS_OF_SERVICE = "must be http://host:port or https://…"
QUOTED = "in a password / ? # @ are written as %2F %3F %23 %40"

LONGEST_SESSION_SECONDS = 1800.0
"""What brokers allow by default (`group.max.session.timeout.ms`)."""


class Settings(BaseSettings):
    """What an operator sets, by environment or a `.env` file.

    `log` and `database` unset mean the embedded server; `artifacts` unset means a folder under `home`. What is set
    to nothing counts as unset: as a path it would be the current folder.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    home: Path = Field(default=Path("~/.autopack"), validate_default=True)
    log: str | None = Field(default=None, repr=False)
    database: str | None = Field(default=None, repr=False)
    artifacts: str | None = None
    run_files: Path | None = Field(
        default=None, validation_alias=AliasChoices("AUTOPACK_RUN_FILES", "AUTONOMOUS_RUNS_DIR")
    )
    repository: str | None = None
    project: SafeId = "Autopack"
    listen: str = "127.0.0.1:8000"
    url: str | None = Field(default=None, repr=False)
    token: str | None = Field(default=None, repr=False)
    agents: Path | None = None
    allow_unsandboxed: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    runs_at_once: Annotated[int, Field(ge=1)] | None = None
    builders_at_once: Annotated[int, Field(ge=1)] = 4
    auditors_at_once: Annotated[int, Field(ge=1)] = 4
    appliers_at_once: Annotated[int, Field(ge=1)] = 4
    verifiers_at_once: Annotated[int, Field(ge=1)] = 2
    grace_seconds: Annotated[float, Field(ge=0)] = 20.0
    least_free_megabytes: Annotated[int, Field(ge=0)] = 100
    artifact_days: Annotated[float, Field(ge=0)] = 90.0
    unused_days: Annotated[float, Field(ge=1)] = 14.0
    partitions: Annotated[int, Field(ge=1, le=1024)] = 8
    replication_factor: Annotated[int, Field(ge=1)] | None = None
    session_timeout_seconds: Annotated[float, Field(gt=0, le=LONGEST_SESSION_SECONDS)] = 10.0
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = ""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: str | None = Field(default=None, repr=False)
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    failpoints: Annotated[tuple[str, ...], NoDecode] = ()
    failpoints_folder: Path | None = Field(default=None, validate_default=True)

    @field_validator("log")
    @classmethod
    def _known_log(cls, value: str | None) -> str | None:
        if value and not value.startswith(("kafka://", "postgresql://", "postgres://")):
            raise ValueError(ADDRESS_OF_LOG)
        return _addressed(value)

    @field_validator("database")
    @classmethod
    def _known_database(cls, value: str | None) -> str | None:
        if value and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be postgresql://…")
        return _addressed(value)

    @field_validator("home", "run_files")
    @classmethod
    def _folder(cls, value: Path | None) -> Path | None:
        """A folder, or one that can be made: nothing on the way to it is something else."""
        folder = None if value is None else _expanded(value).absolute()
        for part in () if folder is None else (folder, *folder.parents):
            if os.path.lexists(part) and not part.is_dir():
                raise ValueError(f"{part} is no folder")
        return value

    @field_validator("agents")
    @classmethod
    def _file(cls, value: Path | None) -> Path | None:
        """A file; whether it is there is seen when it is read."""
        if value is not None:
            _expanded(value)
        return value

    @field_validator("artifacts")
    @classmethod
    def _known_store(cls, value: str | None) -> str | None:
        if value is not None and folder_of(value) is None:
            # Only where it is needed: it brings much with it.
            from fsspec import get_filesystem_class

            try:
                get_filesystem_class(re.split("://|::", value)[0])
            except ImportError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        parsed = _parsed(f"//{value}")
        if parsed.netloc != value or "@" in value or not parsed.hostname or parsed.port is None:
            raise ValueError("must be host:port")
        return value

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parsed = _parsed(value)
            except ValueError:
                # Without its words: they may quote the beginning of a password.
                raise ValueError(f"{ADDRESS_OF_SERVICE}; {QUOTED}") from None
            if parsed.scheme not in ("http", "https") or not parsed.hostname:
                raise ValueError(ADDRESS_OF_SERVICE)
        return value

    @field_validator("failpoints", mode="before")
    @classmethod
    def _known_failpoints(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(name.strip() for name in value.split(",") if name.strip())
            check_failpoints(value)
        return value

    @field_validator("failpoints_folder")
    @classmethod
    def _given_with_failpoints(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("failpoints") and value is None:
            raise ValueError("needed with AUTOPACK_FAILPOINTS: each death is recorded there")
        return value

    @property
    def home_folder(self) -> Path:
        """The folder of everything that this machine keeps."""
        return self.home.expanduser().absolute()

    @property
    def run_files_folder(self) -> Path:
        """The folder that gets one folder a run."""
        chosen = self.run_files.expanduser() if self.run_files else self.home_folder / ".autonomous_runs"
        return chosen.absolute()

    @property
    def artifacts_url(self) -> str:
        """Where blobs are kept, as fsspec takes it."""
        return self.artifacts or str(self.home_folder / "artifacts")

    @property
    def folders_written(self) -> tuple[Path, ...]:
        """The folders that workers fill: the home, and the artifacts where they are files of this machine."""
        folder = folder_of(self.artifacts_url)
        return (self.home_folder,) if folder is None else (self.home_folder, folder)

    @property
    def agents_file(self) -> Path:
        """The operator's agents."""
        return self.agents.expanduser() if self.agents else self.home_folder / "agents.toml"

    @property
    def service_file(self) -> Path:
        """Where a running `up` leaves its address."""
        return self.home_folder / "service.json"

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of the API."""
        parsed = urlsplit(f"//{self.listen}")
        return parsed.hostname or "", parsed.port or 0


def process_environment() -> Mapping[str, str]:
    """The environment of this service: for names that the operator lends to agents, and nothing else."""
    return dict(os.environ)


def unknown_settings() -> dict[str, str | None]:
    """What is set under our prefix and heeded by nobody, each with the setting that it may be meant for."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    given = {**DotEnvSettingsSource(Settings).env_vars, **EnvSettingsSource(Settings).env_vars}
    unknown = {name.upper() for name in given if name.upper().startswith(PREFIX)} - known - NAMES_OF_OTHERS
    return {name: _most_like(name, known) for name in sorted(unknown)}


def _most_like(name: str, known: set[str]) -> str | None:
    """The prefix does not count: it makes all of them alike."""
    endings = [other.removeprefix(PREFIX) for other in known]
    found = get_close_matches(name.removeprefix(PREFIX), endings, 1, 0.75)
    return f"{PREFIX}{found[0]}" if found else None


def _expanded(path: Path) -> Path:
    """The path without its `~`; raises ValueError where nobody knows whose home is meant, or where it is."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error


def _parsed(url: str) -> SplitResult:
    """The parts of a URL; raises ValueError where its host or port cannot be meant."""
    parsed = urlsplit(url)
    _ = parsed.port, (parsed.hostname or "").encode("idna")
    return parsed


def _addressed(url: str | None) -> str | None:
    """The URL, None where it is empty; raises ValueError where one of its hosts or ports cannot be meant.

    The error quotes nothing: with a password that is not quoted, part of it stands where a host is looked for.
    """
    if not url:
        return None
    scheme, _, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest.removeprefix(authority).partition("?")
    user, _, hosts = authority.rpartition("@")
    fields = [field for field in query.split("&") if field]
    # An @ in the path ends a password, most likely; for Kafka's own there are settings.
    is_doubtful = "@" in path or any("=" not in field for field in fields) or (user and scheme == "kafka")
    if is_doubtful or not all(_is_host(host, is_needed=scheme == "kafka") for host in hosts.split(",")):
        raise ValueError(f"{ADDRESS_OF_LOG}; {QUOTED}")
    return url


def _is_host(host: str, *, is_needed: bool) -> bool:
    try:
        return urlsplit(f"//{host}").port != 0 and bool(host or not is_needed)
    except ValueError:
        return False
