"""The demo's auditor: a scripted agent that reads a diff and answers with one JSON object on stdout.

It knows two mistakes. Mixed currencies it sends back to the builder; a name that can be taken twice it mends
itself, with a patch on top of the builder's.
"""

import difflib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.12  # between two lines, so that a person can follow
CHARACTERS_A_TOKEN = 4
OPENING = '        """Open an account under a name that is not taken yet."""\n'
GUARD = """\
        if name in self._balances:
            raise ValueError(f"{name} is open already")
"""
LAST_TEST = "    def test_an_unknown_account_has_no_balance(self) -> None:\n"
NEW_TEST = '''\
    def test_a_name_is_taken_only_once(self) -> None:
        """What is in an account cannot be overwritten."""
        with self.assertRaises(ValueError):
            self.accounts.open("purse", Money(0))

'''


def main() -> None:
    """Judge the diff of the request on stdin."""
    text = sys.stdin.read()
    request = json.loads(text)
    say(f"reading the change of {request['phase']['phase_id']}, with an eye on {request['auditor_profile']}")
    verdict = judge(request["diff"])
    say(f"verdict: {verdict['recommendation']}")
    answer = json.dumps(verdict)
    used = {"input": len(text) // CHARACTERS_A_TOKEN, "output": len(answer) // CHARACTERS_A_TOKEN}
    Path(os.environ["AUTOPACK_REPORT"]).write_text(json.dumps({"tokens": used}))
    print(answer)


def judge(diff: str) -> dict[str, Any]:
    """Approve, unless one of the known mistakes is in the diff."""
    if "+    currency: str" in diff and "self.currency != other.currency" not in diff:
        return revise(MIXED_CURRENCIES, [])
    if "+    def open(self, name" in diff and "if name in self._balances" not in diff:
        return revise(NAME_TAKEN_TWICE, [mended_accounts(diff)])
    return {"recommendation": "approve", "confidence": "high", "findings": [], "suggested_patches": []}


MIXED_CURRENCIES = {
    "severity": "major",
    "category": "correctness",
    "path": "pocket/money.py",
    "message": "amounts of different currencies are added as if they were one",
    "issue_key": "mixed-currencies",
}
NAME_TAKEN_TWICE = {
    "severity": "major",
    "category": "correctness",
    "path": "pocket/accounts.py",
    "message": "opening an account again overwrites what is in it",
    "issue_key": "name-taken-twice",
}


def revise(finding: dict[str, Any], patches: list[str]) -> dict[str, Any]:
    """Send the change back with a finding, and with a patch where there is one."""
    say(f"{finding['path']}: {finding['message']}")
    return {
        "recommendation": "revise",
        "confidence": 0.9,
        "findings": [finding],
        "suggested_patches": patches,
    }


def mended_accounts(diff: str) -> str:
    """Make the patch that mends the registry and tests it, on top of the change in the diff."""
    source, test = new_file(diff, "pocket/accounts.py"), new_file(diff, "tests/test_accounts.py")
    return patch("pocket/accounts.py", source, source.replace(OPENING, OPENING + GUARD)) + patch(
        "tests/test_accounts.py", test, test.replace(LAST_TEST, NEW_TEST + LAST_TEST)
    )


def new_file(diff: str, path: str) -> str:
    """Read the whole of a file that the diff adds."""
    _, _, rest = diff.partition(f"+++ b/{path}\n")
    body = re.split(r"^diff --git ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return "".join(line[1:] for line in body.splitlines(keepends=True) if line.startswith("+"))


def patch(path: str, before: str, after: str) -> str:
    """Give the difference as a unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    return "".join(lines)


def say(line: str) -> None:
    """Tell whoever watches; stdout is for the verdict alone."""
    print(line, file=sys.stderr, flush=True)
    time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
