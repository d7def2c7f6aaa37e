"""What agents report of their usage, as events say it."""

from events.families.base import Tokens, Usage
from services.agents import answers


def usage_of(reported: answers.Usage) -> Usage:
    """Tokens that an agent did not report stay unknown; of those it did, what it left out counts as none."""
    tokens = reported.tokens
    return Usage(
        tokens=None
        if tokens is None
        else Tokens(
            input=tokens.input or 0,
            cached_input=tokens.cached_input or 0,
            cache_write=tokens.cache_write or 0,
            output=tokens.output or 0,
            reasoning=tokens.reasoning or 0,
        ),
        cost_usd=reported.cost_usd,
        duration_seconds=round(reported.duration_seconds, 6),
    )
