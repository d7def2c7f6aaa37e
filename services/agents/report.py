"""The report that a builder may write: each key is taken for itself, and a bad one spoils no other."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from services.agents.answers import Issue, Probe, Report, Tokens
from services.agents.reading import AnswerUnreadable, clean, fitting, parse_object, renamed

SUMMARY_BYTES = 3000
TEXT_BYTES = 2000
NAME_BYTES = 200
LIST_BYTES = 12_000
MOST_NOTES = 20
MOST_PATHS = 20
MOST_EVIDENCE = 5
"""So many paths and texts an event keeps of an issue: more of them must not cost the issue itself."""
FIRST_VERSION_NAMES = {"probe_results": "probes", "suggested_issues": "issues", "notes": "summary"}
FIRST_VERSION_PROBE_NAMES = {"probe_type": "name", "stdout": "output"}
FIRST_VERSION_ISSUE_NAMES = {"description": "message", "evidence_refs": "evidence"}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


Count = Annotated[int, Field(ge=0, lt=2**53)]
Cost = Annotated[float, Field(ge=0, lt=1e9)]


class TokensGiven(_Strict):
    """Tokens as an agent reports them; every kind may be left out."""

    input: Count | None = None
    cached_input: Count | None = None
    cache_write: Count | None = None
    output: Count | None = None
    reasoning: Count | None = None

    def value(self) -> Tokens | None:
        """Give them as a value; an empty report of tokens says nothing."""
        given = self.model_dump()
        return Tokens(**given) if any(count is not None for count in given.values()) else None


class _ProbeGiven(_Strict):
    name: str
    outcome: str = ""
    exit_code: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    output: str = ""

    def value(self) -> Probe:
        return Probe(
            clean(self.name, NAME_BYTES),
            clean(self.outcome, NAME_BYTES),
            self.exit_code,
            clean(self.output, TEXT_BYTES),
        )


class _IssueGiven(_Strict):
    issue_key: Annotated[str, Field(min_length=1)]
    severity: Literal["minor", "major"] | None = None
    category: str = ""
    message: str = ""
    paths: list[str] = []
    evidence: list[str] = []

    def value(self) -> Issue:
        return Issue(
            clean(self.issue_key, NAME_BYTES),
            self.severity,
            clean(self.category, NAME_BYTES),
            clean(self.message, TEXT_BYTES),
            tuple(clean(path, NAME_BYTES) for path in self.paths[:MOST_PATHS]),
            tuple(clean(text, NAME_BYTES) for text in self.evidence[:MOST_EVIDENCE]),
        )


def read_report(data: bytes) -> Report:
    """Read a report as far as it can be used; what cannot is said in its notes. Never raises."""
    try:
        given = renamed(parse_object(data), FIRST_VERSION_NAMES)
    except AnswerUnreadable as error:
        return Report(notes=(f"the report was not used: {clean(error.reason, NAME_BYTES)}",))
    reader = _Reader(given)
    tokens = reader.take("tokens", TypeAdapter(TokensGiven | None))
    return Report(
        summary=clean(reader.take("summary", TypeAdapter(str | None)) or "", SUMMARY_BYTES),
        needs_review=reader.take("needs_review", TypeAdapter(bool | None)) or False,
        tokens=tokens.value() if tokens else None,
        cost_usd=reader.take("cost_usd", TypeAdapter(Cost | None)),
        probes=reader.take_list("probes", _ProbeGiven, FIRST_VERSION_PROBE_NAMES, _ProbeGiven.value),
        issues=reader.take_list("issues", _IssueGiven, FIRST_VERSION_ISSUE_NAMES, _IssueGiven.value),
        notes=tuple(reader.notes[:MOST_NOTES]),
    )


class _Reader:
    """Takes keys one by one, and notes what could not be taken."""

    def __init__(self, given: dict[str, Any]):
        self._given = given
        self.notes: list[str] = []

    def take(self, key: str, kind: TypeAdapter[Any]) -> Any:
        """Take the value of a key, None where it is missing or of the wrong type."""
        try:
            return kind.validate_python(self._given.get(key), strict=True)
        except ValidationError as error:
            self._note(key, error)
            return None

    def take_list(
        self, key: str, kind: type[BaseModel], names: dict[str, str], value: Callable[[Any], Any]
    ) -> tuple[Any, ...]:
        """Take the good items of a list."""
        items = self.take(key, TypeAdapter(list[Any] | None)) or []
        good = []
        for index, item in enumerate(items):
            try:
                known = renamed(item, names) if isinstance(item, dict) else item
                good.append(value(kind.model_validate(known)))
            except ValidationError as error:
                self._note(f"{key}[{index}]", error)
            except AnswerUnreadable as error:
                self.notes.append(f"{key}[{index}] in the report was not used: {error.reason}")
        kept = fitting(good, LIST_BYTES)
        if len(kept) < len(good):
            self.notes.append(f"{len(good) - len(kept)} of {len(good)} {key} in the report were left out")
        return kept

    def _note(self, place: str, error: ValidationError) -> None:
        self.notes.append(f"{place} in the report was not used: {first_fault(error)}")


def first_fault(error: ValidationError) -> str:
    """Say in one line what was wrong first, and where."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return clean(f"{place}: {fault['msg']}" if place else fault["msg"], NAME_BYTES)
