"""The tier family."""

from events.families.base import Count, EventData
from events.states import TierState


class TierStarted(EventData):
    """The first phase of a tier begins."""

    tier_id: str
    tier_index: Count


class TierCompleted(EventData):
    """Nothing more happens in a tier; `cleanliness` is `clean` or `not_clean`."""

    tier_id: str
    state: TierState
    cleanliness: str = "clean"
    tokens_used: Count = 0
    ci_runs_used: Count = 0
    minor_issues: Count = 0
    major_issues: Count = 0
    token_limit_exceeded: bool = False
    ci_run_limit_exceeded: bool = False
