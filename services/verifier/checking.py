"""One check, with its tries: a flake is told from a failure by running it again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import assert_never

from events.configuration import Check
from events.families.verify import CheckOutcome, CheckResult
from services.artifacts import ArtifactStore
from services.clipping import clipped
from services.processes import Completed, Ending
from services.sandbox import WORKSPACE, Job, Mount, Sandbox
from services.verifier.junit import count_tests, remove_report
from services.verifier.tree import CandidateTree

OUTPUT_CHARACTERS = 2500
ROOM_FOR_REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a check that is red is run, and until when (on the monotonic clock) it is run again."""

    count: int
    pause_seconds: float
    until: float


@dataclass(frozen=True, slots=True)
class CheckRunner:
    """Runs checks, each try in a tree checked out anew; `lent` shows what the preparation made.

    A try that found the tree as another left it would judge what that one wrote, not the candidate.
    """

    sandbox: Sandbox
    store: ArtifactStore
    tree: CandidateTree
    lent: tuple[Mount, ...]
    say: Callable[[str], None]

    async def run(self, check: Check, tries: Tries) -> CheckResult:
        """Run a check until it is green or out of tries. A time limit that was passed is not tried again."""
        used = 1
        done = await self._once(check)
        while used < tries.count and _may_be_flaky(done) and monotonic() < tries.until:
            self.say(f"{check.name}: red, trying again ({used} of {tries.count} tries used)")
            await asyncio.sleep(tries.pause_seconds)
            used += 1
            done = await self._once(check)
        return await self._result(check, done, used)

    async def _once(self, check: Check) -> Completed:
        folder = await self.tree.give()
        if check.junit is not None:
            await asyncio.to_thread(remove_report, folder, check.junit)
        return await self.sandbox.run(
            Job(
                argv=check.argv,
                work_folder=folder,
                shown_at=WORKSPACE,
                readonly=self.lent,
                limit_seconds=check.timeout_seconds,
                on_line=self.say,
            )
        )

    async def _result(self, check: Check, done: Completed, tries: int) -> CheckResult:
        output = done.output.data
        junit = check.junit
        counted = None if junit is None else await asyncio.to_thread(count_tests, self.tree.folder, junit)
        return CheckResult(
            name=check.name,
            outcome=_outcome(done),
            exit_code=done.exit_code,
            tries=tries,
            flaky=done.succeeded and tries > 1,
            tests=counted,
            duration_seconds=round(done.duration_seconds, 6),
            output=clipped(_shown(done), OUTPUT_CHARACTERS),
            log=await self.store.put(output) if output else None,
        )


def is_of_the_machine(check: Check) -> bool:
    """Whether the executable is one that the machine has to have, and no file of the repository."""
    name = check.argv[0]
    return "/" not in name or (name.startswith("/") and not Path(name).is_relative_to(WORKSPACE))


def _may_be_flaky(done: Completed) -> bool:
    return done.ending is Ending.EXITED and not done.succeeded


def _outcome(done: Completed) -> CheckOutcome:
    match done.ending:
        case Ending.EXITED:
            return CheckOutcome.PASSED if done.exit_code == 0 else CheckOutcome.FAILED
        case Ending.TIMED_OUT | Ending.IDLE | Ending.STOPPED:
            return CheckOutcome.TIMED_OUT
        case Ending.FAILED_TO_START:
            return CheckOutcome.NOT_STARTED
        case _:
            assert_never(done.ending)


def _shown(done: Completed) -> str:
    """The end of what it printed, below why it ended where that was not an exit code."""
    said = done.output.last_text(OUTPUT_CHARACTERS - ROOM_FOR_REASON_CHARACTERS)
    return said if done.ending is Ending.EXITED else f"{done.reason}\n{said}".strip()
