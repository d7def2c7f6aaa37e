"""Rules on which paths a phase may touch."""

from collections.abc import Iterator

from services.policy.change import ProposedChange
from services.policy.globs import forbidding, granting
from services.policy.policy import Policy, Violation, violation


def out_of_scope(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Paths outside the phase's scope; what `allow` names is inside."""
    if policy.scope is None:
        return
    granted = granting([*policy.scope, *policy.allow])
    mend = f"Change only: {', '.join(policy.scope)}." if policy.scope else "Change only what `allow` names."
    for file in change.files:
        if not granted.match(file.path):
            yield violation("scope", file.path, "The path lies outside this phase's scope.", mend)


def protected_paths(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Paths that the project protects, unless the phase's `allow` names them."""
    protected, allowed = forbidding(policy.protected), granting(policy.allow)
    for file in change.files:
        if protected.match(file.path) and not allowed.match(file.path):
            yield violation("protected", file.path, "The project protects this path.", "Leave it as it is.")
