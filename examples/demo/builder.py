"""The demo's builder: a scripted agent that works as a real one is asked to.

Its request comes as JSON on stdin, it changes the clone that it is started in, and it writes what it used to
`$AUTOPACK_REPORT`. It knows how to do each phase; what it does in a second attempt follows from the feedback
on the first. The changes are in the folder that its command line names.
"""

import ast
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.12  # between two lines, so that a person can follow
CHARACTERS_A_TOKEN = 4
LINK = ("pocket/shared", "/etc")


class FeedbackNotUnderstood(Exception):
    """The feedback says nothing that this agent could act on."""


def main(changes: Path) -> None:
    """Do what the request on stdin asks for, in the current folder."""
    text = sys.stdin.read()
    request = json.loads(text)
    say(f"reading the task: {request['phase']['name']}")
    folder, left_out = decide(request)
    written = write(changes / folder, left_out)
    say(f"done, {len(written)} files written")
    report(text, written, request)


def decide(request: dict[str, Any]) -> tuple[str, frozenset[str]]:
    """Choose the change to make, and the files of it to leave out."""
    phase_id, feedback = request["phase"]["phase_id"], request["feedback"]
    match phase_id:
        case "percent":
            return ("percent/mended" if failing_test(feedback) else "percent/first"), frozenset()
        case "currency":
            return ("currency/mended" if asked_for_guard(feedback) else "currency/first"), frozenset()
        case "statement":
            return "statement", refused_paths(feedback)
        case _:
            return phase_id, frozenset()


def failing_test(feedback: list[dict[str, Any]]) -> bool:
    """Read what the checks printed: is it the rounding that they complain of?"""
    if not feedback:
        return False
    printed = "\n".join(check["output"] for told in feedback for check in told["checks"])
    if "test_half_a_cent_is_rounded_up" not in printed:
        raise FeedbackNotUnderstood(printed)
    say("the checks say: test_half_a_cent_is_rounded_up fails")
    return True


def asked_for_guard(feedback: list[dict[str, Any]]) -> bool:
    """Read what the auditor found: are different currencies to be kept apart?"""
    if not feedback:
        return False
    findings = [finding for told in feedback for finding in told["findings"]]
    if not any(finding["issue_key"] == "mixed-currencies" for finding in findings):
        raise FeedbackNotUnderstood(str(findings))
    say(f"the auditor says: {findings[0]['message']}")
    return True


def refused_paths(feedback: list[dict[str, Any]]) -> frozenset[str]:
    """Read which paths the policy refused; the second attempt leaves them alone."""
    refused = frozenset(violation["path"] for told in feedback for violation in told["violations"])
    if feedback and not refused:
        raise FeedbackNotUnderstood(str(feedback))
    for path in sorted(refused):
        say(f"leaving {path} alone, as the policy says")
    return refused


def write(folder: Path, left_out: frozenset[str]) -> list[Path]:
    """Copy the files of a change into the clone; the hostile one brings a link out of the tree as well."""
    sources = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    written = []
    for source in sources:
        target = source.relative_to(folder)
        if str(target) not in left_out:
            say(f"writing {target}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            written.append(target)
    if folder.name == "statement" and LINK[0] not in left_out:
        say(f"linking {LINK[0]} to {LINK[1]}")
        os.symlink(LINK[1], LINK[0])
    return written


def report(request: str, written: list[Path], asked: dict[str, Any]) -> None:
    """Say what was used; a token is taken for four characters."""
    sources = {path: path.read_text() for path in written}
    for path, source in sources.items():
        if path.suffix == ".py":
            ast.parse(source, str(path))
    used = {
        "input": len(request) // CHARACTERS_A_TOKEN,
        "output": sum(map(len, sources.values())) // CHARACTERS_A_TOKEN,
    }
    summary = f"{asked['phase']['name']}, attempt {asked['attempt']}"
    probes = [{"name": "syntax", "outcome": "passed", "exit_code": 0, "output": ""}]
    Path(os.environ["AUTOPACK_REPORT"]).write_text(
        json.dumps({"summary": summary, "tokens": used, "probes": probes})
    )


def say(line: str) -> None:
    """Tell whoever watches."""
    print(line, flush=True)
    time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
