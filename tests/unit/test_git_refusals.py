"""What git says when a target refuses, and when it was only busy."""

import pytest

from services.git.refusals import is_refusal

REFUSALS = [
    " ! [remote rejected] 1a2b -> autonomous/a (protected branch hook declined)",
    " ! [remote rejected] 1a2b -> autonomous/a (pre-receive hook declined)",
    " ! [remote rejected] 1a2b -> refs/autopack/fence/a (deny updating a hidden ref)",
    " ! [remote rejected] 1 -> a (hook declined)\n ! [remote rejected] 2 -> b (atomic push failure)",
    "fatal: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists; cannot create 'refs/heads/a/b'",
    "fatal: cannot lock ref 'refs/heads/a': Unable to create '/r/refs/heads/a.lock': Permission denied",
    "error: insufficient permission for adding an object to repository database objects",
    "fatal: Unable to create '/r/packed-refs.lock': Read-only file system",
    "remote: Permission to shop/cart.git denied to robot.",
    "fatal: unable to access 'https://example.org/cart/': The requested URL returned error: 403",
    "remote: ERROR: You are not allowed to push code to this project.",
]
PASSING = [
    " ! [remote rejected] 1a2b -> autonomous/a (atomic transaction failed)",
    " ! [remote rejected] 1a2b -> autonomous/a (failed to update ref)",
    " ! [remote rejected] 1a2b -> autonomous/a (cannot lock ref 'a': is at 1a2b but expected 2b3c)",
    " ! [remote rejected] 1a2b -> autonomous/a (unpacker error)",
    " ! [remote rejected] 1a2b -> autonomous/a (Internal Server Error)",
    " ! [rejected] 1a2b -> autonomous/a (stale info)",
    "fatal: Unable to create '/r/refs/heads/a.lock': File exists.",
    "ssh: connect to host example.org port 22: Connection refused",
    "fatal: unable to access 'https://example.org/cart/': The requested URL returned error: 503",
    "fatal: the remote end hung up unexpectedly",
    "",
]


@pytest.mark.parametrize("said", REFUSALS)
def test_a_rule_or_a_missing_right_is_a_refusal(said: str) -> None:
    assert is_refusal(said)


@pytest.mark.parametrize("said", PASSING)
def test_a_target_that_is_away_or_busy_has_not_refused(said: str) -> None:
    assert not is_refusal(said)
