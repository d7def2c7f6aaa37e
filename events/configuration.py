"""`autopack.toml` as it stands in a repository at a base commit: checks, preparation, policy, ruleset."""

import tomllib
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from events.families.base import Count, Path, Seconds, Text, Value


class Check(Value):
    """One command that must exit 0 on a candidate. `timeout_seconds` bounds one try."""

    name: Text
    argv: Annotated[tuple[Text, ...], Field(min_length=1)]
    timeout_seconds: Annotated[Seconds, Field(gt=0)] = 600.0
    paths: tuple[Path, ...] = ()
    junit: Path | None = None


class Checks(Value):
    """The two CI profiles; `strict` runs both lists."""

    normal: tuple[Check, ...] = ()
    strict: tuple[Check, ...] = ()


class RepositoryChecks(Checks):
    """The checks of a repository, and whether a request may replace them."""

    allow_override: bool = False


class Preparation(Value):
    """Run once for a base commit and its lock files, with network; `paths` are kept and lent read-only."""

    argv: Annotated[tuple[Text, ...], Field(min_length=1)]
    keyed_by: tuple[Path, ...] = ()
    paths: tuple[Path, ...] = ()
    timeout_seconds: Annotated[Seconds, Field(gt=0)] = 1800.0


class PolicySettings(Value):
    """What the repository protects besides the built-in list."""

    protected: tuple[Path, ...] = ()


class CategoryRuleset(Value):
    """One row of the table of categories; what is left out keeps its default."""

    complexity: Literal["low", "medium", "high"] | None = None
    ci_profile: Literal["normal", "strict"] | None = None
    builder_attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    auditor_attempts: Annotated[int, Field(ge=0, le=20)] | None = None
    incident_token_cap: Count | None = None
    minor_issues_per_phase: Annotated[float, Field(ge=0)] | None = None
    audit_required: bool | None = None
    auditor_profile: str | None = None


class RulesetSettings(Value):
    """The numbers of the rulebook that a project overrides, each by its name."""

    builder_limit_seconds: Annotated[Seconds, Field(gt=0)] = 3600.0
    auditor_limit_seconds: Annotated[Seconds, Field(gt=0)] = 900.0
    apply_limit_seconds: Annotated[Seconds, Field(gt=0)] = 300.0
    integration_limit_seconds: Annotated[Seconds, Field(gt=0)] = 300.0
    check_tries: Annotated[int, Field(ge=1, le=10)] = 3
    check_try_pause_seconds: Seconds = 5.0
    categories: dict[str, CategoryRuleset] = Field(default_factory=dict)


class Configuration(Value):
    """The whole of `autopack.toml`; an absent file is the empty configuration."""

    prepare: Preparation | None = None
    checks: RepositoryChecks = RepositoryChecks()
    policy: PolicySettings = PolicySettings()
    ruleset: RulesetSettings = RulesetSettings()

    @model_validator(mode="before")
    @classmethod
    def _tables_to_lists(cls, raw: Any) -> Any:
        """TOML names a check by its table; the model keeps a list."""
        if isinstance(raw, dict) and isinstance(raw.get("checks"), dict):
            return {**raw, "checks": {k: _as_list(v) for k, v in raw["checks"].items()}}
        return raw


def _as_list(profile: Any) -> Any:
    if not isinstance(profile, dict):
        return profile
    return [{"name": name, **body} if isinstance(body, dict) else body for name, body in profile.items()]


class ConfigurationInvalid(Exception):
    """autopack.toml cannot be used."""


def parse_configuration(text: str | None) -> Configuration:
    """Read `autopack.toml`; raises ConfigurationInvalid naming each faulty key."""
    if text is None:
        return Configuration()
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number that no int takes, and deep nesting
        raise ConfigurationInvalid(f"autopack.toml is not TOML: {error}") from error
    try:
        return Configuration.model_validate(raw)
    except ValidationError as error:
        faults = (f"autopack.toml: {_place(raw, fault['loc'])}: {_words(fault)}" for fault in error.errors())
        raise ConfigurationInvalid("\n".join(faults)) from error


def _place(raw: dict[str, Any], location: tuple[str | int, ...]) -> str:
    """A key as TOML writes it: a check goes by its name there, not by its number."""
    match location:
        case ("checks", str(profile), int(index), *below) if isinstance(raw["checks"][profile], dict):
            location = ("checks", profile, list(raw["checks"][profile])[index], *below)
    return ".".join(map(str, location)) or "(top)"


def _words(fault: ErrorDetails) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "unknown key"
        case "tuple_type":
            return "must be a list"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "must be a table"
        case _:
            return fault["msg"]
