"""What an event says of checks: all of them where they fit, else the red ones first."""

from collections.abc import Sequence

from events.families.verify import RESULTS_LIMIT_BYTES, CheckOutcome, CheckResult
from services.clipping import first, json_bytes

OUTPUTS = ((2500, 2500), (2500, 200), (1000, 100), (400, 0), (100, 0))
"""How many characters of a red and of a green check's output are shown, from plenty to few."""


def reported(results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """The results as they fit into an event: outputs are shortened, of which the logs have the whole."""
    shortened = list(results)
    for red, green in OUTPUTS:
        shortened = [_shortened(result, green if _is_green(result) else red) for result in shortened]
        if _fit(shortened):
            return tuple(shortened)
    # Only by its name is a check known as green: whoever reads that can do without its log.
    shortened = [_bare(result) if _is_green(result) else result for result in shortened]
    if _fit(shortened):
        return tuple(shortened)
    ordered = sorted(shortened, key=_is_green)
    all_green = all(map(_is_green, results))
    outcome = CheckOutcome.PASSED if all_green else CheckOutcome.FAILED
    return first(
        ordered, RESULTS_LIMIT_BYTES, lambda count: CheckResult(name=f"and {count} more", outcome=outcome)
    )


def _fit(results: Sequence[CheckResult]) -> bool:
    return sum(json_bytes(result) + 1 for result in results) < RESULTS_LIMIT_BYTES


def _bare(result: CheckResult) -> CheckResult:
    return result.model_copy(update={"output": "", "log": None})


def _is_green(result: CheckResult) -> bool:
    return result.outcome is CheckOutcome.PASSED


def _shortened(result: CheckResult, characters: int) -> CheckResult:
    if len(result.output) <= characters:
        return result
    end = result.output[len(result.output) - characters :]
    return result.model_copy(update={"output": f"…{end}" if end else ""})
