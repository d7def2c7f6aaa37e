"""All rules at once."""

from services.policy.binaries import binary_secrets, text_made_binary
from services.policy.change import ProposedChange
from services.policy.contents import conflict_markers, large_file_pointers, secrets
from services.policy.hidden_text import hidden_text
from services.policy.modes import bare_repositories, executables, gitlinks, other_modes, symlinks
from services.policy.names import (
    colliding_names,
    git_directory_names,
    modules_file_names,
    non_ascii_names,
    reserved_names,
    unreadable_names,
)
from services.policy.policy import Policy, Rule, Violation
from services.policy.scope import out_of_scope, protected_paths
from services.policy.self_running import overriding_makefiles, self_running_files
from services.policy.self_running_parts import self_running_parts
from services.policy.sizes import change_sizes, file_sizes

RULES: tuple[Rule, ...] = (
    out_of_scope,
    protected_paths,
    self_running_files,
    self_running_parts,
    overriding_makefiles,
    git_directory_names,
    modules_file_names,
    symlinks,
    gitlinks,
    other_modes,
    executables,
    bare_repositories,
    unreadable_names,
    reserved_names,
    non_ascii_names,
    colliding_names,
    change_sizes,
    file_sizes,
    secrets,
    binary_secrets,
    conflict_markers,
    large_file_pointers,
    hidden_text,
    text_made_binary,
)


def judge(change: ProposedChange, policy: Policy) -> tuple[Violation, ...]:
    """Every violation of every rule, in the order of the rules; none means that it may pass."""
    return tuple(found for rule in RULES for found in rule(change, policy))
